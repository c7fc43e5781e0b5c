// The client's half against the server's half, and against bytes that no server should send.
import { Prng } from '../../../core/base/prng.ts';
import { ClientHandshake } from '../../../core/nbd/client-handshake.ts';
import { Handshake } from '../../../core/nbd/handshake.ts';
import { INFO, OPTION, REPLY } from '../../../core/nbd/proto.ts';
import {
  writeGreeting,
  writeInfoBlockSize,
  writeInfoExport,
  writeOptionReply,
} from '../../../core/nbd/wire.ts';

function bytes(length: number, write: (view: DataView) => void): Uint8Array {
  const made = new Uint8Array(length);
  write(new DataView(made.buffer));
  return made;
}

const greeting = (flags = 3): Uint8Array => bytes(18, (view) => writeGreeting(view, 0, flags));

function reply(option: number, type: number, data: Uint8Array = new Uint8Array(0)): Uint8Array {
  const made = bytes(20 + data.length, (view) =>
    writeOptionReply(view, 0, option, type, data.length),
  );
  made.set(data, 20);
  return made;
}

const exportInfo = (size: number, flags: number): Uint8Array =>
  bytes(12, (view) => writeInfoExport(view, 0, size, flags));
const blockInfo = (min: number, preferred: number, max: number): Uint8Array =>
  bytes(14, (view) => writeInfoBlockSize(view, 0, min, preferred, max));

const NO_STRUCTURED = reply(OPTION.STRUCTURED_REPLY, REPLY.ERR_UNSUP);

/** A client that has been given these bytes, all at once or one at a time. */
function clientOf(parts: readonly Uint8Array[], oneByOne = false): ClientHandshake {
  const client = new ClientHandshake('data', { write: () => undefined });
  for (const part of parts) {
    if (!oneByOne) client.consume(part, 0, part.length);
    else for (let i = 0; i < part.length; i += 1) client.consume(part, i, i + 1);
  }
  return client;
}

function contextReply(id: number, name = 'base:allocation'): Uint8Array {
  const made = bytes(4 + name.length, (view) => view.setUint32(0, id));
  made.set(new TextEncoder().encode(name), 4);
  return made;
}

const GOOD = [
  greeting(),
  reply(OPTION.STRUCTURED_REPLY, REPLY.ACK),
  reply(OPTION.SET_META_CONTEXT, REPLY.META_CONTEXT, contextReply(7)),
  reply(OPTION.SET_META_CONTEXT, REPLY.ACK),
  reply(OPTION.GO, REPLY.INFO, blockInfo(512, 4096, 65536)),
  reply(OPTION.GO, REPLY.INFO, exportInfo(2 ** 20, 0x141)),
  reply(OPTION.GO, REPLY.ACK),
];

describe('ClientHandshake', () => {
  it.each([false, true])('agrees with a good server, one byte at a time: %s', (oneByOne) => {
    const client = clientOf(GOOD, oneByOne);
    expect(client.state).toBe('TRANSMISSION');
    expect(client.facts).toEqual({
      sizeBytes: 2 ** 20,
      transmissionFlags: 0x141,
      canonicalName: 'data',
      minimumBlockBytes: 512,
      preferredBlockBytes: 4096,
      maximumPayloadBytes: 65536,
      isStructured: true,
      allocationId: 7,
    });
  });

  it('needs no metadata context, and takes no other than the one it asked for', () => {
    const [hello, structured, , , ...rest] = GOOD;
    const start = [hello ?? greeting(), structured ?? NO_STRUCTURED];
    const without = [...start, reply(OPTION.SET_META_CONTEXT, REPLY.ERR_UNSUP), ...rest];
    expect(clientOf(without).facts).toMatchObject({ isStructured: true, allocationId: null });
    const none = [...start, reply(OPTION.SET_META_CONTEXT, REPLY.ACK), ...rest];
    expect(clientOf(none).facts).toMatchObject({ allocationId: null });
    const other = contextReply(1, 'base:allocatioN');
    const wrong = [...start, reply(OPTION.SET_META_CONTEXT, REPLY.META_CONTEXT, other)];
    expect(clientOf(wrong).failure).toContain('was not asked for');
  });

  it('falls back to EXPORT_NAME where there is no GO', () => {
    const old = bytes(10, (view) => {
      view.setUint32(4, 4096);
      view.setUint16(8, 1);
    });
    const client = clientOf([greeting(), NO_STRUCTURED, reply(OPTION.GO, REPLY.ERR_UNSUP), old]);
    expect(client.facts).toMatchObject({ sizeBytes: 4096, isStructured: false });
  });

  it('agrees with our own server', () => {
    const one = {
      name: 'data',
      description: '',
      sizeBytes: 8192,
      transmissionFlags: 0x101,
      preferredBlockBytes: 4096,
      logicalBlockBytes: 512,
      isShuttingDown: false,
      contexts: [],
      readOnly: false,
    };
    const directory = {
      isShuttingDown: false,
      contexts: [],
      find: (name: string) => (name === 'data' ? one : undefined),
      list: () => [one],
    };
    const toServer: Uint8Array[] = [];
    const toClient: Uint8Array[] = [];
    const server = new Handshake(directory, { write: (b) => toClient.push(b) });
    const client = new ClientHandshake('data', { write: (b) => toServer.push(b) });
    for (let turn = 0; turn < 20; turn += 1) {
      for (const b of toClient.splice(0)) client.consume(b, 0, b.length);
      for (const b of toServer.splice(0)) server.consume(b, 0, b.length);
    }
    expect([server.state, client.state]).toEqual(['TRANSMISSION', 'TRANSMISSION']);
    expect(client.facts).toMatchObject({ sizeBytes: 8192, canonicalName: 'data' });
  });

  it('asks for TLS before anything else, and goes on when the caller has it', () => {
    const asked: number[] = [];
    const sink = { write: (b: Uint8Array) => asked.push(new DataView(b.buffer).getUint32(8)) };
    const client = new ClientHandshake(
      'data',
      { write: (b) => b.length > 4 && sink.write(b) },
      true,
    );
    const before = [greeting(), reply(OPTION.STARTTLS, REPLY.ACK)];
    for (const part of before) expect(client.consume(part, 0, part.length)).toBe(part.length);
    expect([client.state, asked]).toEqual(['TLS', [OPTION.STARTTLS]]);
    client.secured();
    for (const part of GOOD.slice(1)) client.consume(part, 0, part.length);
    expect(client.facts).toMatchObject({ sizeBytes: 2 ** 20 });
  });

  it('takes nothing that comes in the clear behind the ACK of STARTTLS', () => {
    const client = new ClientHandshake('data', { write: () => undefined }, true);
    const all = Buffer.concat([greeting(), reply(OPTION.STARTTLS, REPLY.ACK), ...GOOD.slice(1)]);
    expect(client.consume(all, 0, all.length)).toBe(38);
    expect([client.state, client.facts]).toEqual(['TLS', undefined]);
  });

  it.each([REPLY.ERR_UNSUP, REPLY.ERR_POLICY, REPLY.INFO])(
    'goes no further without TLS (answer %s)',
    (answer) => {
      const client = new ClientHandshake('data', { write: () => undefined }, true);
      for (const part of [greeting(), reply(OPTION.STARTTLS, answer)]) {
        client.consume(part, 0, part.length);
      }
      expect([client.state, client.failure]).toEqual([
        'CLOSED',
        expect.stringContaining('the server has no TLS'),
      ]);
    },
  );

  it.each<[string, readonly Uint8Array[]]>([
    ['no NBD server', [new Uint8Array(18)]],
    ['no fixed newstyle', [greeting(2)]],
    ['without its magic', [greeting(), new Uint8Array(20)]],
    ['was not asked', [greeting(), reply(OPTION.LIST, REPLY.ACK)]],
    ['ACK with data', [greeting(), reply(OPTION.STRUCTURED_REPLY, REPLY.ACK, new Uint8Array(1))]],
    ['wants TLS', [greeting(), reply(OPTION.STRUCTURED_REPLY, REPLY.ERR_TLS_REQD)]],
    ['without the size', [greeting(), NO_STRUCTURED, reply(OPTION.GO, REPLY.ACK)]],
    ['INFO too short', [greeting(), NO_STRUCTURED, reply(OPTION.GO, REPLY.INFO)]],
    [
      'impossible block sizes',
      [greeting(), NO_STRUCTURED, reply(OPTION.GO, REPLY.INFO, blockInfo(3, 4096, 65536))],
    ],
    ['HAS_FLAGS', [greeting(), NO_STRUCTURED, reply(OPTION.GO, REPLY.INFO, exportInfo(4096, 0))]],
    [
      'wrong length',
      [
        greeting(),
        NO_STRUCTURED,
        reply(OPTION.GO, REPLY.INFO, new Uint8Array([0, INFO.EXPORT, 1])),
      ],
    ],
    [
      'ERR_UNKNOWN: gone',
      [
        greeting(),
        NO_STRUCTURED,
        reply(OPTION.GO, REPLY.ERR_UNKNOWN, new TextEncoder().encode('gone')),
      ],
    ],
  ])('refuses: %s', (why, parts) => {
    const client = clientOf(parts);
    expect(client.state).toBe('CLOSED');
    expect(client.failure).toContain(why);
  });

  it('survives damaged bytes of any kind: it agrees, refuses or waits, and never throws', () => {
    const whole = Buffer.concat(GOOD);
    const ends = new Set<string>();
    for (let seed = 1; seed <= 5000; seed += 1) {
      const prng = new Prng(seed);
      const damaged = Uint8Array.from(whole);
      for (let hits = 1 + (prng.u32() % 4); hits > 0; hits -= 1) {
        damaged[prng.u32() % damaged.length] = prng.u32() & 0xff;
      }
      const client = clientOf([damaged]);
      ends.add(client.state);
      expect(client.state === 'CLOSED').toBe(client.failure !== '');
    }
    expect([...ends]).toEqual(expect.arrayContaining(['CLOSED', 'TRANSMISSION']));
  });
});
