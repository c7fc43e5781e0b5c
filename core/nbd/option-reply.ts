import type { NegotiableExport } from './directory.ts';
import { INFO, LIMIT, OPTION, REPLY, SIZE, type InfoType, type ReplyType } from './proto.ts';
import { encodeUtf8 } from './utf8.ts';
import {
  writeExportNameReply,
  writeGreeting,
  writeInfoBlockSize,
  writeInfoExport,
  writeOptionReply,
} from './wire.ts';

/** The messages a server sends in the handshake, one function each. Every call makes new bytes. */

const NO_DATA = new Uint8Array(0);
/** Any length may be asked for: unaligned requests are served, at the price of reading around them. */
const MINIMUM_BLOCK_BYTES = 1;

/** "Newstyle negotiation", S: first message. */
export function greeting(handshakeFlags: number): Uint8Array {
  const bytes = new Uint8Array(SIZE.GREETING);
  writeGreeting(new DataView(bytes.buffer), 0, handshakeFlags);
  return bytes;
}

/** "Option reply types": header and data. */
export function optionReply(option: number, type: ReplyType, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(SIZE.OPTION_REPLY + data.length);
  writeOptionReply(new DataView(bytes.buffer), 0, option, type, data.length);
  bytes.set(data, SIZE.OPTION_REPLY);
  return bytes;
}

/** The text of an error reply: for people, optional, cut rather than refused. */
export function message(text: string): Uint8Array {
  const bytes = encodeUtf8(text);
  return bytes === undefined || bytes.length > LIMIT.STRING_BYTES ? NO_DATA : bytes;
}

/** "NBD_OPT_EXPORT_NAME": no option reply, and 124 zeroes unless both sides agreed to none. */
export function exportName(one: NegotiableExport, flags: number, zeroes: boolean): Uint8Array {
  const bytes = new Uint8Array(SIZE.EXPORT_NAME_REPLY + (zeroes ? SIZE.EXPORT_NAME_ZEROES : 0));
  writeExportNameReply(new DataView(bytes.buffer), 0, one.sizeBytes, flags);
  return bytes;
}

/** "NBD_REP_SERVER": u32 length of the name, name, description. */
export function server(one: NegotiableExport): Uint8Array {
  const name = message(one.name);
  const description = message(one.description);
  const data = new Uint8Array(4 + name.length + description.length);
  new DataView(data.buffer).setUint32(0, name.length);
  data.set(name, 4);
  data.set(description, 4 + name.length);
  return optionReply(OPTION.LIST, REPLY.SERVER, data);
}

/** "NBD_INFO_EXPORT". */
export function infoExport(option: number, one: NegotiableExport, flags: number): Uint8Array {
  const data = new Uint8Array(SIZE.INFO_EXPORT);
  writeInfoExport(new DataView(data.buffer), 0, one.sizeBytes, flags);
  return optionReply(option, REPLY.INFO, data);
}

/** "NBD_INFO_NAME": the canonical name, which the default export's client does not know. */
export function infoName(option: number, one: NegotiableExport): Uint8Array {
  return infoText(option, INFO.NAME, one.name);
}

/** "NBD_INFO_DESCRIPTION". */
export function infoDescription(option: number, one: NegotiableExport): Uint8Array {
  return infoText(option, INFO.DESCRIPTION, one.description);
}

/** "NBD_INFO_BLOCK_SIZE". */
export function infoBlockSize(option: number, one: NegotiableExport): Uint8Array {
  const data = new Uint8Array(SIZE.INFO_BLOCK_SIZE);
  const view = new DataView(data.buffer);
  writeInfoBlockSize(view, 0, MINIMUM_BLOCK_BYTES, one.preferredBlockBytes, LIMIT.PAYLOAD_BYTES);
  return optionReply(option, REPLY.INFO, data);
}

/** "NBD_REP_META_CONTEXT": u32 id (0 in LIST), name. */
export function metaContext(option: number, id: number, name: string): Uint8Array {
  const text = message(name);
  const data = new Uint8Array(4 + text.length);
  new DataView(data.buffer).setUint32(0, id);
  data.set(text, 4);
  return optionReply(option, REPLY.META_CONTEXT, data);
}

function infoText(option: number, type: InfoType, text: string): Uint8Array {
  const bytes = message(text);
  const data = new Uint8Array(2 + bytes.length);
  new DataView(data.buffer).setUint16(0, type);
  data.set(bytes, 2);
  return optionReply(option, REPLY.INFO, data);
}
