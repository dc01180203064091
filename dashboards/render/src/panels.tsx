// The kinds of panel. Grafana publishes the components of stat, time series and table; timelines and bar charts are
// drawn here in the same style.
import { cacheFieldDisplayNames, FieldType, getFieldDisplayName, getFieldDisplayValues, renderMarkdown } from '@grafana/data';
import { BigValue, TimeSeries, VizRepeater } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';

export function draw(context: any) {
  const { panel, frames } = context;
  if (panel.type === 'text') return <Text {...context} />;
  if (panel.type === 'stat') return <Stat {...context} />;
  if (!frames.some((frame: any) => frame.length)) {
    return <Centered>{panel.fieldConfig.defaults.noValue}</Centered>;
  }
  switch (panel.type) {
    case 'timeseries': return <Graph {...context} />;
    case 'table': return <Table {...context} />;
    case 'barchart': return <BarChart {...context} />;
    case 'state-timeline':
    case 'status-history': return <Timeline {...context} />;
  }
  throw new Error(`no renderer for ${panel.type}`);
}

function Centered({ children }: any) {
  return <div style={{ height: '100%', display: 'grid', placeItems: 'center', opacity: 0.65 }}>{children}</div>;
}

function Text({ panel, height }: any) {
  const html = { __html: renderMarkdown(panel.options.content) };
  return <div className="markdown-html" style={{ height, overflow: 'hidden' }} dangerouslySetInnerHTML={html} />;
}

function Stat({ panel, frames, width, height, theme, selection }: any) {
  const { options, fieldConfig } = panel;
  const values = getFieldDisplayValues({
    fieldConfig, reduceOptions: options.reduceOptions, replaceVariables: (text: string) => selection.replace(text), theme,
    data: frames, sparkline: options.graphMode !== 'none', timeZone: 'utc',
  } as any);
  return (
    <VizRepeater
      source={values as any} getValues={() => values as any} width={width} height={height} orientation={'vertical' as any}
      autoGrid renderCounter={0}
      renderValue={({ value, width, height }: any) => (
        <BigValue
          value={value.display} count={values.length} sparkline={value.sparkline} width={width} height={height} theme={theme}
          colorMode={options.colorMode} graphMode={options.graphMode} justifyMode={options.justifyMode}
          textMode={options.textMode}
        />
      )}
    />
  );
}

function Graph({ panel, frames, width, height, timeRange }: any) {
  const { legend } = panel.options;
  return (
    <TimeSeries
      frames={frames} width={width} height={height} timeRange={timeRange} timeZone="utc" structureRev={1}
      legend={{ ...legend, calcs: legend.calcs ?? [] }}
    >
      {() => null as any}
    </TimeSeries>
  );
}

function Table({ panel, frames, width, height, timeRange }: any) {
  cacheFieldDisplayNames(frames);
  return (
    <TableNG
      data={frames[0]} width={width} height={height} initialSortBy={panel.options.sortBy} enableVirtualization={false}
      cellHeight={panel.options.cellHeight} timeRange={timeRange} structureRev={1} showTypeIcons={false} getActions={() => []}
      frozenColumns={0 as any}
    />
  );
}

// State timeline: equal neighbors are one box. Status history: a box for each interval.
function Timeline({ panel, frames, width, height, timeRange, theme }: any) {
  const isHistory = panel.type === 'status-history';
  const rows = frames.flatMap((frame: any) => frame.fields
    .filter((field: any) => field.type !== FieldType.time)
    .map((field: any) => ({ field, name: getFieldDisplayName(field, frame, frames), times: frame.fields[0].values })));
  const [from, to] = [timeRange.from.valueOf(), timeRange.to.valueOf()];
  const left = Math.min(width / 3, 20 + 7 * Math.max(...rows.map(({ name }: any) => name.length)));
  const bottom = 46, rowHeight = (height - bottom) / rows.length;
  const x = (time: number) => left + (width - left - 8) * Math.min(1, (Math.max(time, from) - from) / (to - from));
  const legend = new Map<string, string>();
  const boxes = rows.flatMap(({ field, times }: any, row: number) => {
    const step = times.length > 1 ? times[1] - times[0] : to - from;
    const boxes: any[] = [];
    for (let start = 0, end = 1; end <= times.length; end += 1) {
      if (!isHistory && end < times.length && field.values[end] === field.values[start]) continue;
      const value = field.values[start];
      if (value !== null) {
        const shown = field.display(value);
        // by thresholds, a color has no name of its own
        if (field.config.mappings?.length) legend.set(shown.text, shown.color);
        const begin = x(isHistory ? times[start] - step : times[start]);
        boxes.push(
          <rect
            key={`${row} ${start}`} x={begin} y={row * rowHeight + rowHeight * 0.08} fill={shown.color} opacity={0.85}
            width={Math.max(1, (isHistory ? x(times[start]) - 2 : x(times[end] ?? to)) - begin)} height={rowHeight * 0.84}
          />,
        );
      }
      start = end;
    }
    return boxes;
  });
  const labels = rows.map(({ name }: any, row: number) => (
    <text key={name} x={left - 8} y={(row + 0.5) * rowHeight + 4} textAnchor="end" fontSize={12} fill={theme.colors.text.primary}>
      {name}
    </text>
  ));
  const ticks = Array.from({ length: 5 }, (_, index) => from + ((to - from) * (index + 0.5)) / 5).map((time) => (
    <text key={time} x={x(time)} y={height - bottom + 16} textAnchor="middle" fontSize={12} fill={theme.colors.text.primary}>
      {new Date(time).toISOString().slice(11, 16)}
    </text>
  ));
  return (
    <div>
      <svg width={width} height={height - 24}>{boxes}{labels}{ticks}</svg>
      <Legend entries={legend} />
    </div>
  );
}

// One horizontal bar for each row of the table, its numbers stacked.
function BarChart({ panel, frames, width, height, theme }: any) {
  const { xField } = panel.options;
  const [frame] = frames;
  const names = frame.fields.find((field: any) => getFieldDisplayName(field, frame, frames) === xField);
  const parts = frame.fields.filter((field: any) => field.type === FieldType.number);
  const total = (row: number) => parts.reduce((sum: number, field: any) => sum + (field.values[row] ?? 0), 0);
  const largest = Math.max(...names.values.map((_: any, row: number) => total(row)));
  const left = 20 + 7 * Math.max(...names.values.map((name: string) => name.length));
  const bottom = 46, rowHeight = (height - bottom) / frame.length;
  const scale = (width - left - 70) / largest;
  const legend = new Map<string, string>();
  const bars = names.values.map((name: string, row: number) => {
    let x = left;
    const boxes = parts.map((field: any, index: number) => {
      const value = field.values[row] ?? 0;
      const { color } = field.display(value);
      if (value > 0) legend.set(getFieldDisplayName(field, frame, frames), color);
      const box = <rect key={index} x={x} y={(row + 0.15) * rowHeight} width={value * scale} height={rowHeight * 0.7} fill={color} opacity={0.8} />;
      x += value * scale;
      return box;
    });
    const middle = (row + 0.5) * rowHeight + 4;
    const { text, suffix } = parts[0].display(total(row));
    return (
      <g key={name} fontSize={12} fill={theme.colors.text.primary}>
        {boxes}
        <text x={left - 8} y={middle} textAnchor="end">{name}</text>
        <text x={x + 6} y={middle}>{text}{suffix}</text>
      </g>
    );
  });
  return (
    <div>
      <svg width={width} height={height - 24}>{bars}</svg>
      <Legend entries={legend} />
    </div>
  );
}

function Legend({ entries }: any) {
  return (
    <div style={{ display: 'flex', gap: 16, fontSize: 12, paddingLeft: 8 }}>
      {[...entries].map(([name, color]: any) => (
        <span key={name} style={{ display: 'inline-flex', gap: 6, alignItems: 'center' }}>
          <span style={{ width: 14, height: 4, borderRadius: 2, background: color }} />{name}
        </span>
      ))}
    </div>
  );
}
