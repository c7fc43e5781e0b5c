// The other tests of this folder run on the engine that `auto` finds; these again on Node's fs.
process.env['TEST_ENGINE'] = 'node';

await import('./restart.test.ts');
await import('./crash.test.ts');

export {};
