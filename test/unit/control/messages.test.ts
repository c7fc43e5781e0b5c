import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { ControlError, ERROR_EXIT, oneLine } from '../../../core/control/error.ts';
import { isLegUri } from '../../../core/control/leg-name.ts';
import { idOfLine, parseArgs, parseRequest } from '../../../core/control/messages.ts';
import { nameError } from '../../../core/control/name.ts';
import { encodeLine, errorOfReply, parseReply, replyErrorOf } from '../../../core/control/reply.ts';
import { VERSION } from '../../../core/control/version.ts';
import { ROOT } from '../../support/root.ts';

describe('a request', () => {
  it('is read, and its arguments by their command', () => {
    const request = parseRequest('{"id":7,"command":"status","args":{"name":"data"}}');
    expect(request).toEqual({ id: 7, command: 'status', args: { name: 'data' } });
    expect(parseArgs('status', request.args)).toEqual({ name: 'data' });
    expect(parseRequest('{"id":1,"command":"ls"}').args).toEqual({});
  });

  it.each([
    ['', 'not a request: expected object, received undefined'],
    ['[]', 'not a request: expected object, received array'],
    ['{"id":1.5,"command":"ls"}', 'not a request: id: expected int, received number'],
    ['{"id":1}', 'not a request: command: expected string, received undefined'],
    ['{"id":1,"command":"ls","more":1}', 'not a request: Unrecognized key: "more"'],
  ])('that is none is refused: %s', (line, message) => {
    expect(() => parseRequest(line)).toThrow(message);
  });

  it('with an unknown command is told the known ones', () => {
    expect(() => parseRequest('{"id":1,"command":"toString"}')).toThrow(
      /^unknown command "toString" \(known: create, assemble, remove, .*leg-replace\)$/,
    );
  });

  it.each([
    ['status', { nam: 'x' }, 'status: Unrecognized key: "nam"'],
    ['remove', {}, 'remove: name: expected string, received undefined'],
    [
      'create',
      { name: 'x', sizeBytes: -1 },
      'create: sizeBytes: Too small: expected number to be >=0',
    ],
    ['wait', { name: 'x', eventNr: 'y' }, 'wait: eventNr: expected number, received string'],
  ] as const)('%s %j is refused', (command, args, message) => {
    expect(() => parseArgs(command, args)).toThrow(message);
  });

  it('tells its id even when it is broken otherwise', () => {
    expect(idOfLine('{"id":3,"command":9}')).toBe(3);
    expect(idOfLine('{"id":"3"}')).toBeNull();
    expect(idOfLine('nonsense')).toBeNull();
  });
});

describe('a reply', () => {
  it('goes over the wire and back', () => {
    for (const reply of [
      { id: 1, result: { devices: [] } },
      { id: 2, event: { eventNr: 3 } },
      { id: 3, error: replyErrorOf(new ControlError('no-device', 'no device x')) },
      { id: null, error: replyErrorOf(new ControlError('bad-request', 'not a request')) },
    ]) {
      expect(parseReply(encodeLine(reply))).toEqual(reply);
    }
  });

  it.each([
    '',
    '1',
    'null',
    '{}',
    '{"id":1}',
    '{"id":1,"error":{}}',
    '{"result":1}',
    'HTTP/1.1 400',
  ])('that is none is not taken for one: %s', (line) => {
    expect(parseReply(line)).toBeUndefined();
  });

  it('carries an error with its exit code; an unknown code is internal', () => {
    const error = errorOfReply({ code: 'no-leg', exit: 4, message: 'no leg' });
    expect([error.code, error.exit, error.message]).toEqual(['no-leg', 4, 'no leg']);
    expect(errorOfReply({ code: 'new', exit: 9, message: 'm' }).code).toBe('internal');
  });
});

describe('errors', () => {
  it('have the exit codes of the contract', () => {
    const codes = Object.values(ERROR_EXIT);
    expect(codes.every((exit) => exit >= 1 && exit <= 5)).toBe(true);
    expect(ERROR_EXIT).toMatchObject({
      'bad-argument': 2,
      unreachable: 3,
      'no-device': 4,
      'no-leg': 4,
      busy: 5,
      'would-lose-data': 5,
    });
  });

  it('are one line, whatever a file is called', () => {
    expect(new ControlError('bad-leg', 'leg a\nb\u001b[2J').message).toBe(
      'leg a\\u000ab\\u001b[2J',
    );
    expect(oneLine('plain "text" äöü')).toBe('plain "text" äöü');
  });
});

describe('a device name', () => {
  it.each(['data', 'Data 1', 'a.b', '.hidden', 'größe', '0', 'x'.repeat(127)])(
    '%s is one',
    (name) => {
      expect(nameError(name)).toBeUndefined();
    },
  );

  it.each([
    ['', 'must not be empty'],
    ['a/b', 'must not contain "/"'],
    ['-x', 'must not begin with "-"'],
    ['.', 'not a name'],
    ['..', 'not a name'],
    ['a\0b', 'control characters'],
    ['a\nb', 'control characters'],
    ['x'.repeat(128), '128 bytes: at most 127'],
    ['ö'.repeat(64), '128 bytes: at most 127'],
    ['\ud800', 'well-formed'],
  ])('%j is none', (name, why) => {
    expect(nameError(name)).toContain(why);
    expect(nameError(name)).not.toMatch(/[\n\0]/);
  });
});

describe('isLegUri', () => {
  it.each(['nbd://host/x', 'nbds://host/x', 'nbd+unix:///x?socket=/s', 'dm:data'])('%s', (leg) => {
    expect(isLegUri(leg)).toBe(true);
  });
  it.each(['/dev/sda', 'nbd', 'a.img', './dm:x', 'nbd:x', 'http://x'])('not %s', (leg) => {
    expect(isLegUri(leg)).toBe(false);
  });
});

describe('VERSION', () => {
  it('is that of package.json', () => {
    const text = readFileSync(join(ROOT, 'package.json'), 'utf8');
    expect((JSON.parse(text) as { version: string }).version).toBe(VERSION);
  });
});
