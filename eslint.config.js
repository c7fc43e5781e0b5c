// Lint, in four blocks: every file, the tests, the pure core, the hot files.
// The last two are laws of the layout (core never touches Node; a hot function allocates nothing),
// so their rules are exported as data and test/lint.test.ts proves each of them on planted code.
import { builtinModules } from 'node:module';
import { defineConfig, globalIgnores } from 'eslint/config';
import tseslint from 'typescript-eslint';

/** Files every request passes through. A path may be listed before the file exists. */
export const HOT_FILES = [
  'core/block/bio.ts',
  'core/block/split.ts',
  'core/block/range-lock.ts',
  'core/block/run.ts',
  'core/block/arena.ts',
  'core/dm-io/memory.ts',
  'core/dm-io/request.ts',
  'core/dm-io/client.ts',
  'core/dm/table.ts',
  'core/dm/mapped-device.ts',
  'core/dm/remap.ts',
  'core/mirror/read.ts',
  'core/mirror/choose-leg.ts',
  'core/mirror/pending.ts',
  'core/mirror/region-bits.ts',
  'core/mirror/region-marks.ts',
  'core/mirror/leg-watch.ts',
  'core/mirror/bytes.ts',
  'core/mirror/resync-speed.ts',
  'core/stats/window.ts',
  'core/stats/histogram.ts',
  'core/stats/io-stats.ts',
  'core/mirror/write.ts',
  'core/nbd/wire.ts',
  'core/nbd/transmission.ts',
  'core/nbd/chunk.ts',
  'core/nbd/errno.ts',
  'core/nbd/client-replies.ts',
  'core/nbd/coverage.ts',
  'core/remote/age-list.ts',
  'core/remote/device.ts',
  'core/remote/digest.ts',
  'core/remote/link.ts',
  'core/remote/request.ts',
  'core/remote/witness.ts',
  'core/export/session.ts',
  'core/export/request.ts',
  'core/export/reply-queue.ts',
  'core/export/dialect.ts',
  'core/export/block-status.ts',
  'core/export/stretches.ts',
  'core/export/unaligned.ts',
  'core/export/validate.ts',
  'daemon/uring/ring.ts',
  'daemon/uring/engine.ts',
  'daemon/uring/company.ts',
  'daemon/uring/disk-op.ts',
  'daemon/uring/folio-split.ts',
  'daemon/uring/shared-sync.ts',
  'daemon/uring/stream.ts',
  'daemon/uring/remote-link.ts',
  'daemon/uring/outbox.ts',
  'daemon/uring/stopwatch.ts',
  'daemon/uring/throttle.ts',
];

// A function body that runs per request: any function but a constructor. What a constructor does
// happens once per record or engine; a closure made there is itself a hot body again.
const HOT = ':function:not(MethodDefinition[kind="constructor"] > FunctionExpression)';
// A throw ends the request's normal life: what it allocates is not paid by the hot path.
const NOT_THROWN = ':not(ThrowStatement *)';
// `new Pool(n, () => new Bio())`: a factory handed to a constructor; the pool decides when it runs.
const NOT_A_FACTORY = ':not(NewExpression > ArrowFunctionExpression > NewExpression)';

const callOf = (names) => `${HOT} CallExpression[callee.property.name=/^(${names})$/]`;

/** What no hot function may contain, each with the remedy. `calls` are the method names banned. */
export const hotSyntax = (calls = 'subarray|slice|map|filter|bind') => [
  { selector: `${HOT} :function`, message: 'Hot file: no nested function; make it a method.' },
  { selector: ':function[async=true]', message: 'Hot file: no async; complete by callback.' },
  { selector: `${HOT} AwaitExpression`, message: 'Hot file: no await; complete by callback.' },
  {
    selector: `${HOT} ObjectExpression${NOT_THROWN}`,
    message: 'Hot file: no object literal; reuse a record from the slab.',
  },
  {
    selector: `${HOT} ArrayExpression${NOT_THROWN}`,
    message: 'Hot file: no array literal; allocate it in the constructor.',
  },
  {
    selector: `${HOT} NewExpression${NOT_THROWN}${NOT_A_FACTORY}`,
    message: 'Hot file: no `new` outside a constructor; reuse a record from the slab.',
  },
  { selector: `${HOT} SpreadElement`, message: 'Hot file: no spread; pass arguments by name.' },
  { selector: `${HOT} RestElement`, message: 'Hot file: no rest element; it allocates an array.' },
  { selector: `${HOT} ForOfStatement`, message: 'Hot file: no for-of; count with an index.' },
  { selector: `${HOT} ArrayPattern`, message: 'Hot file: no array pattern; read by index.' },
  {
    selector: `${HOT} Literal[bigint]`,
    message: 'Hot file: no bigint; use two u32 words or a number below 2^53.',
  },
  {
    selector: callOf(calls),
    message: 'Hot file: no subarray/slice/map/filter/bind; use offsets into the arena.',
  },
];

/** The rules of core/: its only ways out are the ports (Clock, Log, BlockDevice, ByteStream). */
export const coreRules = {
  'no-restricted-imports': [
    'error',
    {
      paths: builtinModules.map((name) => ({ name, message: 'core/ never touches Node.' })),
      patterns: [{ group: ['node:*'], message: 'core/ never touches Node.' }],
    },
  ],
  'no-restricted-globals': [
    'error',
    ...['process', 'Buffer', 'console', 'global', 'globalThis', 'fetch', 'crypto', 'require'].map(
      (name) => ({ name, message: 'core/ never touches Node: take it through a port.' }),
    ),
    ...['Date', 'performance'].map((name) => ({ name, message: 'core/ reads the Clock port.' })),
    ...[
      'setTimeout',
      'setInterval',
      'setImmediate',
      'clearTimeout',
      'clearInterval',
      'clearImmediate',
      'queueMicrotask',
    ].map((name) => ({ name, message: 'core/ has no timers: the owner of the loop calls it.' })),
  ],
  'no-restricted-properties': [
    'error',
    { object: 'Math', property: 'random', message: 'core/ draws from base/prng.ts (seeded).' },
  ],
};

export default defineConfig(
  globalIgnores(['dist/', 'node_modules/', 'var/', 'coverage/']),
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        // A switch over plain numbers (a wire code) needs its default; over a union it needs every case,
        // and a `default: unreachable(x)` beside them is welcome.
        { requireDefaultForNonUnion: true, allowDefaultCaseForExhaustiveSwitch: true },
      ],
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/consistent-type-imports': [
        'error',
        { fixStyle: 'separate-type-imports' },
      ],
      '@typescript-eslint/no-non-null-assertion': 'error',
      'max-lines-per-function': ['error', { max: 70, skipBlankLines: true, skipComments: true }],
      'max-lines': ['error', { max: 500 }],
      eqeqeq: 'error',

      // Relaxations of strictTypeChecked, each with its reason.
      // A number in a message is what a number in a message is for.
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
      // `() => this.close()` says what it does; braces around it add nothing.
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      // It calls the assertions we want (constants related to each other, a caller's promise checked
      // again inside) "always true". They are on in production exactly because types can be wrong.
      '@typescript-eslint/no-unnecessary-condition': 'off',
      // tsc reports unused names already (noUnusedLocals, noUnusedParameters); one voice is enough.
      '@typescript-eslint/no-unused-vars': 'off',
      // An interface may promise a Promise that one implementation has at once.
      '@typescript-eslint/require-await': 'off',
      // A target or a port may have nothing to do in a method: an empty class method is an answer.
      '@typescript-eslint/no-empty-function': 'off',
    },
  },
  {
    // describe() and a conformance suite are one function by construction.
    files: ['**/*.test.ts', 'test/conformance/**/*.ts'],
    rules: {
      'max-lines-per-function': 'off',
      // expect(device.submit) names a method, it does not call it.
      '@typescript-eslint/unbound-method': 'off',
    },
  },
  { files: ['core/**/*.ts'], rules: coreRules },
  {
    files: HOT_FILES,
    rules: {
      'no-restricted-syntax': ['error', ...hotSyntax()],
      // noUncheckedIndexedAccess asks for it on every typed-array read; elsewhere it stays an error.
      '@typescript-eslint/no-non-null-assertion': 'off',
    },
  },
  {
    // A table calls target.map(bio): the kernel's verb, not Array's.
    files: ['core/dm/table.ts', 'core/dm/mapped-device.ts', 'core/dm/remap.ts'],
    rules: { 'no-restricted-syntax': ['error', ...hotSyntax('subarray|slice|filter|bind')] },
  },
);
