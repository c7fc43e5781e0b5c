/** The metrics page: what `status` and `stats` say, as Prometheus reads it. One page, no other. */
import { createServer, type Server, type ServerResponse } from 'node:http';
import { ControlError } from '../core/control/error.ts';
import type { DeviceCounts, DeviceStatus, OpCounts } from '../core/control/status.ts';
import { VERSION } from '../core/control/version.ts';
import type { Log } from '../core/base/ports.ts';
import type { DeviceManager } from './devices/manager.ts';
import { codeOf, reasonOf } from './system-error.ts';

export interface MetricsAddress {
  readonly host: string;
  readonly port: number;
}

export const METRICS_FORMAT = 'HOST:PORT, [IPV6]:PORT or :PORT (this machine only)';

/** Undefined when the text is no address. */
export function parseMetrics(text: string): MetricsAddress | undefined {
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:\s]*)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65535) return undefined;
  const host = match[1] ?? match[2] ?? '';
  return { host: host === '' ? '127.0.0.1' : host, port };
}

export class MetricsServer {
  private readonly server: Server;

  private constructor(server: Server) {
    this.server = server;
  }

  /** @throws ControlError address-in-use, io */
  static async listen(
    { host, port }: MetricsAddress,
    manager: DeviceManager,
    log: Log,
  ): Promise<MetricsServer> {
    const server = createServer((request, response) => {
      if (request.method !== 'GET' || request.url?.split('?')[0] !== '/metrics') {
        say(response, 404, 'the page is /metrics\n');
        return;
      }
      pageOf(manager).then(
        (page) => say(response, 200, page),
        (error: unknown) => {
          log.error({ reason: reasonOf(error) }, 'the metrics page failed');
          say(response, 500, 'failed; the log says why\n');
        },
      );
    });
    // A scraper keeps its connection for minutes: it must not keep the daemon.
    server.keepAliveTimeout = 5000;
    await new Promise<void>((ready, failed) => {
      server.once('error', (error) => {
        const code = codeOf(error) === 'EADDRINUSE' ? 'address-in-use' : 'io';
        failed(new ControlError(code, `metrics on ${host}:${port}: ${reasonOf(error)}`));
      });
      server.listen(port, host, ready);
    });
    const address = server.address();
    const bound = typeof address === 'object' && address !== null ? address.port : port;
    log.info({ metrics: `http://${host}:${bound}/metrics` }, 'metrics page');
    return new MetricsServer(server);
  }

  close(): void {
    this.server.close();
    this.server.closeAllConnections();
  }
}

function say(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' });
  response.end(text);
}

async function pageOf(manager: DeviceManager): Promise<string> {
  const [devices, { devices: counts }] = [await manager.status(), await manager.stats()];
  return metricsPage(devices, counts);
}

type Labels = Readonly<Record<string, string | number>>;

/** Lines of one metric stand together, under their help. */
class Page {
  private readonly metrics = new Map<string, string[]>();

  add(name: string, type: string, help: string, labels: Labels, value: number): void {
    this.addPart(name, type, help, '', labels, value);
  }

  /** `suffix`: `_sum` and `_count` of a summary. */
  addPart(
    name: string,
    type: string,
    help: string,
    suffix: string,
    labels: Labels,
    value: number,
  ): void {
    let lines = this.metrics.get(name);
    if (lines === undefined) {
      lines = [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`];
      this.metrics.set(name, lines);
    }
    const words = Object.entries(labels).map(([key, text]) => `${key}="${escapeLabel(text)}"`);
    lines.push(`${name}${suffix}${words.length === 0 ? '' : `{${words.join(',')}}`} ${value}`);
  }

  toString(): string {
    return `${[...this.metrics.values()].flat().join('\n')}\n`;
  }
}

function escapeLabel(text: string | number): string {
  return String(text).replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n');
}

/** Pure, so that every line is tested. */
export function metricsPage(
  devices: readonly DeviceStatus[],
  counts: readonly DeviceCounts[],
): string {
  const page = new Page();
  page.add('dmiod_info', 'gauge', 'Version of the daemon.', { version: VERSION }, 1);
  for (const device of devices) addStatus(page, device);
  for (const { name, io, legs } of counts) {
    for (const [op, each] of Object.entries(io)) addOp(page, 'device', { device: name, op }, each);
    for (const { leg, io: legIo } of legs) {
      for (const [op, each] of Object.entries(legIo)) {
        addOp(page, 'leg', { device: name, leg, op }, each);
      }
    }
  }
  return page.toString();
}

function addStatus(page: Page, device: DeviceStatus): void {
  const { name, state, sizeBytes, connections, eventNr, regions, resync, scrub, legs } = device;
  const gauge = (metric: string, help: string, labels: Labels, value: number): void =>
    page.add(`dmiod_${metric}`, 'gauge', help, { device: name, ...labels }, value);
  gauge('device_state', 'The state a device is in: 1.', { state }, 1);
  if (sizeBytes !== null) gauge('device_size_bytes', 'Size of a device.', {}, sizeBytes);
  gauge('device_connections', 'NBD connections.', {}, connections);
  gauge('device_event_number', 'Events since the device was started.', {}, eventNr);
  if (regions !== null) {
    gauge('regions_dirty', 'Regions being written.', {}, regions.dirty);
    gauge('regions_out_of_sync', 'Regions some leg lacks.', {}, regions.outOfSync);
  }
  gauge('resync_running', '1 while a resync runs.', {}, resync === null ? 0 : 1);
  if (resync !== null) {
    gauge('resync_done_bytes', 'Copied by the resync.', {}, resync.doneBytes);
    gauge('resync_total_bytes', 'To be copied by the resync.', {}, resync.totalBytes);
  }
  if (scrub !== null) {
    gauge('scrub_running', '1 while a scrub runs.', {}, scrub.state === 'running' ? 1 : 0);
    gauge('scrub_mismatched_sectors', 'Found by the last scrub.', {}, scrub.mismatchedSectors);
    gauge('scrub_repaired_sectors', 'Repaired by the last scrub.', {}, scrub.repairedSectors);
    gauge('scrub_unreadable_sectors', 'Found by the last scrub.', {}, scrub.unreadableSectors);
  }
  for (const { leg, state: legState, errors, outOfSyncBytes } of legs) {
    gauge('leg_state', 'The state a leg is in: 1.', { leg, state: legState }, 1);
    if (outOfSyncBytes !== null) {
      gauge('leg_out_of_sync_bytes', 'What a leg lacks.', { leg }, outOfSyncBytes);
    }
    for (const [kind, count] of Object.entries(errors)) {
      const labels = { device: name, leg, kind };
      page.add('dmiod_leg_errors_total', 'counter', 'Errors of a leg.', labels, Number(count));
    }
  }
}

function addOp(page: Page, what: 'device' | 'leg', labels: Labels, op: OpCounts): void {
  const { requests, errors, bytes, totalUs, p50Us, p99Us, p999Us } = op;
  const count = (metric: string, help: string, value: number): void =>
    page.add(`dmiod_${what}_${metric}`, 'counter', help, labels, value);
  count('requests_total', 'Requests that have ended.', requests);
  count('request_errors_total', 'Requests that have failed.', errors);
  count('request_bytes_total', 'Bytes of requests that ended well.', bytes);
  const name = `dmiod_${what}_request_seconds`;
  const help = 'What requests took.';
  const quantiles = { '0.5': p50Us, '0.99': p99Us, '0.999': p999Us };
  for (const [quantile, us] of Object.entries(quantiles)) {
    if (us !== null) page.add(name, 'summary', help, { ...labels, quantile }, us / 1e6);
  }
  page.addPart(name, 'summary', help, '_sum', labels, totalUs / 1e6);
  page.addPart(name, 'summary', help, '_count', labels, requests);
}
