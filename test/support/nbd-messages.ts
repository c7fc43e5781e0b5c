import { SIZE } from '../../core/nbd/proto.ts';
import {
  RequestHeader,
  writeExtendedRequest,
  writeOption,
  writeRequest,
} from '../../core/nbd/wire.ts';
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
  const bytes = new Uint8Array(SIZE.REQUEST);
  writeRequest(new DataView(bytes.buffer), 0, headerOf(fields, payload));
  return concat(bytes, payload);
}

/** The same with extended headers; what has a payload has its flag only if `flags` has it. */
export function extendedRequest(
  fields: RequestFields,
  payload: Uint8Array = new Uint8Array(0),
): Uint8Array {
  const bytes = new Uint8Array(SIZE.EXTENDED_REQUEST);
  writeExtendedRequest(new DataView(bytes.buffer), 0, headerOf(fields, payload));
  return concat(bytes, payload);
}

/** The data of LIST_META_CONTEXT and SET_META_CONTEXT. */
export function contextData(name: string, queries: readonly string[] = []): Uint8Array {
  const text = (value: string): Uint8Array => {
    const bytes = new TextEncoder().encode(value);
    return concat(u32(bytes.length), bytes);
  };
  return concat(text(name), u32(queries.length), ...queries.map(text));
}

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

function headerOf(fields: RequestFields, payload: Uint8Array): RequestHeader {
  const header = new RequestHeader();
  header.type = fields.type;
  header.cookieLow = fields.cookie ?? 0;
  header.flags = fields.flags ?? 0;
  header.offset = fields.offset ?? 0;
  header.lengthBytes = fields.length ?? payload.length;
  return header;
}
