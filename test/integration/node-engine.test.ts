// The other tests of this folder run on the engine that `auto` finds; these again on Node's fs and sockets:
// what a crash and a restart leave, and what clients can do to each other.
process.env['TEST_ENGINE'] = 'node';

const { engineInUse } = await import('../support/programs.ts');
await import('./restart.test.ts');
await import('./crash.test.ts');
await import('./bad-client.test.ts');
await import('./many-clients.test.ts');

it('is Node', () => expect(engineInUse()).toBe('node'));
