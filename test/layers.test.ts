// The import rule: base <- block <- {dm-io, stats} <- mirror <- dm;  base <- nbd;  {block, dm, nbd, stats} <- export;
// core/control <- base (and zod);  core/* <- daemon;  core/{base,control} <- cli;  all <- test.
// A layer that is not in a row's list may not be imported there, not even for a type.
import { posix } from 'node:path';
import ts from 'typescript';

import { sourcesEndingIn } from './support/sources.ts';
import type { SourceFile } from './support/sources.ts';

interface Rule {
  /** Other layers it may import; a trailing `*` stands for any rest. Its own layer is always allowed. */
  readonly layers: readonly string[];
  /** `node:*` and packages it may import. */
  readonly packages: readonly string[];
}

const LAYERS: Readonly<Record<string, Rule>> = {
  'core/base': { layers: [], packages: [] },
  'core/block': { layers: ['core/base'], packages: [] },
  'core/dm-io': { layers: ['core/base', 'core/block'], packages: [] },
  'core/stats': { layers: ['core/base', 'core/block'], packages: [] },
  'core/mirror': { layers: ['core/base', 'core/block', 'core/dm-io', 'core/stats'], packages: [] },
  'core/dm': { layers: ['core/base', 'core/block', 'core/dm-io', 'core/mirror'], packages: [] },
  'core/nbd': { layers: ['core/base'], packages: [] },
  'core/export': {
    layers: ['core/base', 'core/block', 'core/dm', 'core/nbd', 'core/stats'],
    packages: [],
  },
  'core/control': { layers: ['core/base'], packages: ['zod'] },
  // The library's front door (core/index.ts) re-exports; nothing in core/ may come back through it.
  core: { layers: ['core/*'], packages: [] },
  daemon: { layers: ['core', 'core/*'], packages: ['*'] },
  cli: { layers: ['core/base', 'core/control'], packages: ['*'] },
  test: { layers: ['*'], packages: ['*'] },
};

/** In daemon/, the system-call layer only: everyone else asks it. */
const KOFFI_FOLDERS = ['daemon/sys/', 'daemon/uring/', 'test/'];
/** From cli to daemon, opened when needed: `dmio serve` is a daemon, the others have its eyes. */
const DOORS = [
  { from: 'cli/commands/serve.ts', to: 'daemon/serve.ts' },
  { from: 'cli/commands/doctor.ts', to: 'daemon/doctor.ts' },
  { from: 'cli/commands/examine.ts', to: 'daemon/examine.ts' },
];

interface Import {
  readonly specifier: string;
  readonly dynamic: boolean;
}

/** Every module a file names: import, export from, import(), import type, require. */
function importsOf({ path, text }: SourceFile): readonly Import[] {
  const found: Import[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) {
      if (node.moduleSpecifier !== undefined) add(node.moduleSpecifier, false);
    } else if (ts.isImportTypeNode(node)) {
      add(node.argument, false);
    } else if (ts.isExternalModuleReference(node)) {
      add(node.expression, false);
    } else if (ts.isCallExpression(node)) {
      const dynamic = node.expression.kind === ts.SyntaxKind.ImportKeyword;
      const argument = node.arguments[0];
      if ((dynamic || node.expression.getText() === 'require') && argument !== undefined) {
        add(argument, dynamic);
      }
    }
    ts.forEachChild(node, visit);
  };
  const add = (node: ts.Node, dynamic: boolean): void => {
    const literal = ts.isLiteralTypeNode(node) ? node.literal : node;
    if (ts.isStringLiteralLike(literal)) found.push({ specifier: literal.text, dynamic });
    else found.push({ specifier: `computed: ${node.getText()}`, dynamic });
  };
  visit(ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true));
  return found;
}

/** `core/dm-io/io.ts` is of layer `core/dm-io`, `core/index.ts` of `core`, `daemon/...` of `daemon`. */
function layerOf(path: string): string {
  const [top = '', second] = path.split('/').slice(0, -1);
  return top === 'core' && second !== undefined ? `core/${second}` : top;
}

function allows(patterns: readonly string[], name: string): boolean {
  return patterns.some((p) => (p.endsWith('*') ? name.startsWith(p.slice(0, -1)) : name === p));
}

function violationsOf(file: SourceFile): readonly string[] {
  const from = layerOf(file.path);
  const rule = LAYERS[from];
  if (rule === undefined) return [`${file.path}: layer "${from}" has no row in LAYERS`];
  return importsOf(file)
    .filter((found) => !isAllowed(file.path, from, rule, found))
    .map(({ specifier }) => `${file.path}: ${from} may not import ${specifier}`);
}

function isAllowed(path: string, from: string, rule: Rule, found: Import): boolean {
  const { specifier, dynamic } = found;
  if (specifier.startsWith('computed: ')) return from === 'test';
  if (specifier === 'koffi') return KOFFI_FOLDERS.some((folder) => path.startsWith(folder));
  // Our own name from inside would walk around the rows.
  if (specifier === 'dmiod' || specifier.startsWith('dmiod/')) return from === 'test';
  if (!specifier.startsWith('.')) return allows(rule.packages, specifier);

  const target = posix.join(posix.dirname(path), specifier);
  if (dynamic && DOORS.some((door) => path === door.from && target === door.to)) return true;
  const to = layerOf(target);
  return to === from || (to in LAYERS && allows(rule.layers, to));
}

describe('the import rule', () => {
  it('holds in every file', () => {
    const sources = sourcesEndingIn('.ts').filter(({ path }) => path.includes('/'));
    expect(sources.length).toBeGreaterThan(0);
    expect(sources.flatMap(violationsOf)).toEqual([]);
  });

  // The rule would be as green with a broken checker: planted imports, one a row.
  it.each([
    ['core/base/errno.ts', "import { a } from './assert.ts';"],
    ['core/mirror/write.ts', "import type { Io } from '../dm-io/io.ts';"],
    ['core/dm/target-mirror.ts', "import { MirrorSet } from '../mirror/set.ts';"],
    ['core/export/session.ts', "export * from '../nbd/wire.ts';"],
    ['core/control/messages.ts', "import { z } from 'zod';"],
    ['core/index.ts', "export { a } from './base/assert.ts';"],
    ['daemon/worker/main.ts', "import { a } from '../../core/dm/table.ts'; import 'node:fs';"],
    ['daemon/uring/syscall.ts', "import koffi from 'koffi';"],
    ['daemon/sys/ioctl.ts', "import koffi from 'koffi';"],
    ['cli/client.ts', "import { a } from '../core/control/messages.ts'; import 'node:net';"],
    ['cli/commands/serve.ts', "const { serve } = await import('../../daemon/serve.ts');"],
    ['cli/commands/doctor.ts', "const a = await import('../../daemon/doctor.ts');"],
    ['test/sim/world.ts', "import { a } from '../../daemon/serve.ts'; import 'dmiod/core';"],
    ['core/base/text.ts', '// import "node:fs"\nconst a = "import \'node:fs\'";'],
  ])('allows %s: %s', (path, text) => {
    expect(violationsOf({ path, text })).toEqual([]);
  });

  it.each([
    ['core/base/assert.ts', "import { a } from '../block/bio.ts';"],
    ['core/block/bio.ts', "import type { Io } from '../dm-io/io.ts';"],
    ['core/dm-io/io.ts', "export * from '../mirror/set.ts';"],
    ['core/mirror/set.ts', "import { a } from '../dm/table.ts';"],
    ['core/nbd/wire.ts', "import { a } from '../dm/table.ts';"],
    ['core/nbd/wire.ts', "import { a } from '../block/bio.ts';"],
    ['core/dm/table.ts', "import { a } from '../nbd/wire.ts';"],
    ['core/export/session.ts', "import { a } from '../mirror/set.ts';"],
    ['core/control/messages.ts', "import { a } from '../dm/table.ts';"],
    ['core/base/assert.ts', "import { a } from '../index.ts';"],
    ['core/base/assert.ts', "import { a } from 'dmiod/core';"],
    ['core/block/bio.ts', "import { z } from 'zod';"],
    ['core/block/bio.ts', "import fs from 'node:fs';"],
    ['core/block/bio.ts', "const fs = await import('node:fs');"],
    ['core/block/bio.ts', "let a: import('node:fs').Stats;"],
    ['core/block/bio.ts', "import fs = require('node:fs');"],
    ['core/block/bio.ts', 'const a = await import(name);'],
    ['core/dm/table.ts', "import { a } from '../../daemon/serve.ts';"],
    ['core/dm/table.ts', "import { a } from '../../test/support/root.ts';"],
    ['core/nouveau/a.ts', ''],
    ['daemon/main.ts', "import koffi from 'koffi';"],
    ['daemon/main.ts', "import { a } from '../cli/main.ts';"],
    ['daemon/main.ts', "import { a } from '../test/support/root.ts';"],
    ['cli/main.ts', "import { a } from '../core/dm/table.ts';"],
    ['cli/main.ts', "import { a } from '../core/index.ts';"],
    ['cli/main.ts', "const a = await import('../daemon/serve.ts');"],
    ['cli/commands/serve.ts', "const a = await import('../../daemon/doctor.ts');"],
    ['cli/commands/serve.ts', "import { serve } from '../../daemon/serve.ts';"],
    ['cli/commands/serve.ts', "import type { Serve } from '../../daemon/serve.ts';"],
    ['cli/commands/serve.ts', "const a = await import('../../daemon/main.ts');"],
    ['systemd/a.ts', ''],
  ])('refuses %s: %s', (path, text) => {
    expect(violationsOf({ path, text })).toHaveLength(1);
  });
});
