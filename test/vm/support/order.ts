// The order in which jest takes the files: those that take longest first, so that no machine runs alone at the end.

/** Files that are not here come first. */
const SHORTER: readonly string[] = [
  'restart',
  'power-cut-core',
  'power-cut-native',
  'file-systems',
  'memory',
  'dm-mirror',
  'boot',
  'install',
  'package',
  'attach',
];

interface TestFile {
  readonly path: string;
}

const place = ({ path }: TestFile): number =>
  SHORTER.findIndex((name) => path.endsWith(`/${name}.test.js`));

/** What jest asks of a `testSequencer`. It knows nothing of former runs: a fresh clone has none. */
export default class LongestFirst {
  sort<T extends TestFile>(files: readonly T[]): T[] {
    return files.toSorted((a, b) => place(a) - place(b));
  }

  shard<T extends TestFile>(files: readonly T[]): readonly T[] {
    return files;
  }

  allFailedTests<T extends TestFile>(files: readonly T[]): readonly T[] {
    return files;
  }

  cacheResults(): void {
    // The list above says it all.
  }
}
