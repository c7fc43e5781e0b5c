/**
 * Generic netlink messages for the kernel's nbd client (linux/nbd-netlink.h), as bytes. Little
 * endian: netlink is in the machine's order, and Node runs on no big-endian machine we support.
 */

/** netlink's own (linux/netlink.h, linux/genetlink.h). */
const NLMSG_ERROR = 2;
const NLM_F_REQUEST = 1;
const NLM_F_ACK = 4;
const GENL_ID_CTRL = 16;
const CTRL_CMD_GETFAMILY = 3;
const CTRL_ATTR = { FAMILY_ID: 1, FAMILY_NAME: 2 } as const;
const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;

const HEADER_BYTES = 16;
const GENL_HEADER_BYTES = 4;
const ATTRIBUTE_HEADER_BYTES = 4;

const NBD_CMD_RECONFIGURE = 3;
const NBD_VERSION = 1;
const NBD_ATTR = { INDEX: 1, SIZE_BYTES: 2, TIMEOUT: 4, SOCKETS: 7, DEAD_CONN_TIMEOUT: 8 } as const;
const NBD_SOCK_ITEM = 1;
const NBD_SOCK_FD = 1;

/** What RECONFIGURE may change; what is not named stays. */
export interface Reconfigure {
  /** N of /dev/nbdN. */
  readonly index: number;
  /** A request without a reply for so long is sent again, on another connection. */
  readonly timeoutSeconds?: number;
  /** Without any connection, requests wait so long for a new one; then they fail. */
  readonly deadSeconds?: number;
  /** How long the device is from now on; who has it open learns it by an event of udev. */
  readonly sizeBytes?: number;
  /** Connected sockets in transmission, each for one connection that is dead. */
  readonly sockets?: readonly number[];
}

/** Asks for the number of a family. */
export function familyRequest(name: string): Uint8Array {
  const attribute = attributeOf(CTRL_ATTR.FAMILY_NAME, Buffer.from(`${name}\0`));
  return messageOf(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1, [attribute]);
}

export function reconfigureRequest(family: number, change: Reconfigure): Uint8Array {
  const { index, sizeBytes, timeoutSeconds, deadSeconds, sockets } = change;
  const attributes = [attributeOf(NBD_ATTR.INDEX, u32(index))];
  if (sizeBytes !== undefined) attributes.push(attributeOf(NBD_ATTR.SIZE_BYTES, u64(sizeBytes)));
  if (timeoutSeconds !== undefined) {
    attributes.push(attributeOf(NBD_ATTR.TIMEOUT, u64(timeoutSeconds)));
  }
  if (deadSeconds !== undefined) {
    attributes.push(attributeOf(NBD_ATTR.DEAD_CONN_TIMEOUT, u64(deadSeconds)));
  }
  if (sockets !== undefined && sockets.length > 0) {
    const items = sockets.map((fd) =>
      attributeOf(NBD_SOCK_ITEM | NLA_F_NESTED, attributeOf(NBD_SOCK_FD, u32(fd))),
    );
    attributes.push(attributeOf(NBD_ATTR.SOCKETS | NLA_F_NESTED, Buffer.concat(items)));
  }
  return messageOf(family, NBD_CMD_RECONFIGURE, NBD_VERSION, attributes);
}

/** The errno of an answer (0: done), and the family's number if the answer tells one. */
export interface Answer {
  readonly errno: number | undefined;
  readonly family: number | undefined;
}

/** Reads every message of a datagram from the kernel. */
export function readAnswer(bytes: Uint8Array): Answer {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let errno: number | undefined;
  let family: number | undefined;
  for (let at = 0; at + HEADER_BYTES <= bytes.length;) {
    const length = view.getUint32(at, true);
    if (length < HEADER_BYTES || at + length > bytes.length) break;
    const type = view.getUint16(at + 4, true);
    if (type === NLMSG_ERROR) errno = Math.abs(view.getInt32(at + HEADER_BYTES, true));
    else if (type === GENL_ID_CTRL) family = familyIn(view, at, at + length) ?? family;
    at += aligned(length);
  }
  return { errno, family };
}

function familyIn(view: DataView, start: number, end: number): number | undefined {
  for (let at = start + HEADER_BYTES + GENL_HEADER_BYTES; at + ATTRIBUTE_HEADER_BYTES <= end;) {
    const length = view.getUint16(at, true);
    if (length < ATTRIBUTE_HEADER_BYTES || at + length > end) return undefined;
    const type = view.getUint16(at + 2, true) & NLA_TYPE_MASK;
    if (type === CTRL_ATTR.FAMILY_ID) return view.getUint16(at + ATTRIBUTE_HEADER_BYTES, true);
    at += aligned(length);
  }
  return undefined;
}

function messageOf(
  type: number,
  command: number,
  version: number,
  attributes: readonly Uint8Array[],
): Uint8Array {
  const body = Buffer.concat(attributes);
  const message = Buffer.alloc(HEADER_BYTES + GENL_HEADER_BYTES + body.length);
  message.writeUInt32LE(message.length, 0);
  message.writeUInt16LE(type, 4);
  message.writeUInt16LE(NLM_F_REQUEST | NLM_F_ACK, 6);
  message.writeUInt32LE(1, 8);
  message.writeUInt8(command, HEADER_BYTES);
  message.writeUInt8(version, HEADER_BYTES + 1);
  body.copy(message, HEADER_BYTES + GENL_HEADER_BYTES);
  return message;
}

function attributeOf(type: number, data: Uint8Array): Buffer {
  const attribute = Buffer.alloc(aligned(ATTRIBUTE_HEADER_BYTES + data.length));
  attribute.writeUInt16LE(ATTRIBUTE_HEADER_BYTES + data.length, 0);
  attribute.writeUInt16LE(type, 2);
  attribute.set(data, ATTRIBUTE_HEADER_BYTES);
  return attribute;
}

function aligned(length: number): number {
  return (length + 3) & ~3;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}
