// The other tests of this folder run on the engine that `auto` finds; these again on Node's fs.
process.env['TEST_ENGINE'] = 'node';

const { engineInUse } = await import('../support/programs.ts');
await import('./restart.test.ts');
await import('./crash.test.ts');

it('is Node', () => expect(engineInUse()).toBe('node'));
