import { SIZE } from '../../core/nbd/proto.ts';
import { RequestHeader, writeOption, writeRequest } from '../../core/nbd/wire.ts';
import { concat } from './hex.ts';

/** What a client sends, built from parts; data and payload follow the header. */

export function clientFlags(flags: number): Uint8Array {
  const bytes = new Uint8Array(SIZE.CLIENT_FLAGS);
  new DataView(bytes.buffer).setUint32(0, flags);
  return bytes;
}

export function option(type: number, data: Uint8Array | string = ''): Uint8Array {
  const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : data;
  const header = new Uint8Array(SIZE.OPTION);
  writeOption(new DataView(header.buffer), 0, type, bytes.length);
  return concat(header, bytes);
}

/** The data of INFO and GO. */
export function infoData(name: string, infos: readonly number[] = []): Uint8Array {
  const nameBytes = new TextEncoder().encode(name);
  const data = new Uint8Array(6 + nameBytes.length + 2 * infos.length);
  const view = new DataView(data.buffer);
  view.setUint32(0, nameBytes.length);
  data.set(nameBytes, 4);
  view.setUint16(4 + nameBytes.length, infos.length);
  infos.forEach((info, i) => view.setUint16(6 + nameBytes.length + 2 * i, info));
  return data;
}

export interface RequestFields {
  readonly type: number;
  readonly cookie?: number;
  readonly flags?: number;
  readonly offset?: number;
  readonly length?: number;
}

export function request(
  fields: RequestFields,
  payload: Uint8Array = new Uint8Array(0),
): Uint8Array {
  const header = new RequestHeader();
  header.type = fields.type;
  header.cookieLow = fields.cookie ?? 0;
  header.flags = fields.flags ?? 0;
  header.offset = fields.offset ?? 0;
  header.lengthBytes = fields.length ?? payload.length;
  const bytes = new Uint8Array(SIZE.REQUEST);
  writeRequest(new DataView(bytes.buffer), 0, header);
  return concat(bytes, payload);
}
