// Variables and queries: what Grafana's Prometheus data source and its scenes do, as far as these dashboards need it.
import { applyFieldOverrides, FieldType, transformDataFrame } from '@grafana/data';
import { firstValueFrom } from 'rxjs';

const STEPS = [15, 30, 60, 120, 300, 600, 1800, 3600];
const SCRAPE_INTERVAL = 15;

/** The time range, up to now. */
export class Time {
  to = Math.floor(Date.now() / 1000);
  from: number;
  constructor(public seconds: number) { this.from = this.to - seconds; }
}

/** The values of a dashboard's variables. */
class Selection {
  constructor(private values: Map<string, string[] | null>, private all: Map<string, string>, private range: number) {}

  /** A text with variables replaced; in PromQL, several values become an alternation. */
  replace(text: string, step = 60, scoped: any = {}): string {
    const builtIn: any = {
      __interval: `${step}s`, __interval_ms: `${step * 1000}`, __range: `${this.range}s`, __range_s: `${this.range}`,
      __rate_interval: `${Math.max(step + SCRAPE_INTERVAL, 4 * SCRAPE_INTERVAL)}s`,
    };
    return text.replace(/\$\{(\w+)(?::\w+)?\}|\$(\w+)/g, (found, braced, bare) => {
      const name = braced ?? bare;
      return builtIn[name] ?? scoped[name]?.text ?? this.value(name) ?? found;
    });
  }

  label(name: string) { return this.values.get(name)?.join(' + ') ?? 'All'; }

  private value(name: string) {
    if (!this.values.has(name)) return undefined;
    return this.values.get(name)?.join('|') ?? this.all.get(name);
  }
}

/** The variables as given, and of those that are not given all values, or the first where All is not offered. */
export async function variables(dashboard: any, given: any, time: Time) {
  const values = new Map<string, string[] | null>();
  const all = new Map<string, string>();
  const selection = new Selection(values, all, time.seconds);
  for (const { type, name, query, includeAll, allValue } of dashboard.templating.list) {
    if (type === 'datasource') values.set(name, ['Prometheus']);
    else if (given[name]) values.set(name, [given[name]].flat());
    else if (type === 'textbox') values.set(name, [query]);
    else if (includeAll) {
      values.set(name, null);
      all.set(name, allValue);
    }
    else {
      const [, selector, label] = /^label_values\((.+), (\w+)\)$/.exec(selection.replace(query.query))!;
      values.set(name, [(await api(`label/${label}/values`, { 'match[]': selector }))[0]]);
    }
  }
  return selection;
}

/** The data frames of a panel, transformed, with the options of their fields. */
export async function panelData(panel: any, width: number, time: Time, selection: any, theme: any) {
  const targets = panel.targets ?? [];
  const points = Math.min(panel.maxDataPoints ?? width, width);
  const interval = panel.interval === '2m' ? 120 : 0;
  const step = STEPS.find((step) => step >= Math.max(time.seconds / points, interval))!;
  const several = targets.length > 1;
  let frames = (await Promise.all(targets.map((target: any) => query(target, step, time, selection, several)))).flat();
  if (panel.transformations?.length) {
    frames = await firstValueFrom(transformDataFrame(panel.transformations, frames, { interpolate: (text) => text }));
  }
  return applyFieldOverrides({
    data: frames,
    fieldConfig: panel.fieldConfig ?? { defaults: {}, overrides: [] },
    fieldConfigRegistry: (window as any).fieldOptions,
    replaceVariables: (text: string, scoped: any) => selection.replace(text, step, scoped),
    theme,
    timeZone: 'utc',
  });
}

async function query(target: any, step: number, time: Time, selection: any, several: boolean) {
  const expression = selection.replace(target.expr, step);
  const [from, to] = [Math.floor(time.from / step) * step, Math.floor(time.to / step) * step];
  if (target.instant) {
    const { result } = await api('query', { query: expression, time: `${time.to}` });
    return target.format === 'table'
      ? [table(target, result, several)]
      : result.map(({ metric, value }: any) => series(target, metric, [value[0] * 1000], [number(value[1])]));
  }
  const { result } = await api('query_range', { query: expression, start: `${from}`, end: `${to}`, step: `${step}` });
  return result.map(({ metric, values }: any) => {
    const at = new Map<number, string>(values);
    const times = Array.from({ length: (to - from) / step + 1 }, (_, index) => from + index * step);
    const numbers = times.map((time) => (at.has(time) ? number(at.get(time)!) : null));
    return series(target, metric, times.map((time) => time * 1000), numbers, step);
  });
}

function series(target: any, metric: any, times: number[], values: any[], step?: number) {
  const legend = target.legendFormat.replace(/\{\{(\w+)\}\}/g, (_: string, label: string) => metric[label] ?? label);
  return {
    refId: target.refId,
    name: legend,
    fields: [
      { name: 'Time', type: FieldType.time, config: { interval: step && step * 1000 }, values: times },
      { name: 'Value', type: FieldType.number, labels: metric, config: { displayNameFromDS: legend }, values },
    ],
    length: times.length,
  };
}

function table(target: any, result: any[], several: boolean) {
  const labels = [...new Set(result.flatMap(({ metric }) => Object.keys(metric)))].sort();
  return {
    refId: target.refId,
    fields: [
      { name: 'Time', type: FieldType.time, config: {}, values: result.map(({ value }) => value[0] * 1000) },
      ...labels.map((label) => ({
        name: label, type: FieldType.string, config: {}, values: result.map(({ metric }) => metric[label] ?? ''),
      })),
      {
        name: several ? `Value #${target.refId}` : 'Value', type: FieldType.number, config: {},
        values: result.map(({ value }) => number(value[1])),
      },
    ],
    length: result.length,
  };
}

async function api(path: string, parameters: Record<string, string>) {
  const answer = await (await fetch(`/api/v1/${path}?${new URLSearchParams(parameters)}`)).json();
  if (answer.status !== 'success') throw new Error(`${answer.error}: ${parameters.query}`);
  return answer.data;
}

function number(text: string) { return parseFloat(text.replace('Inf', 'Infinity')); }
