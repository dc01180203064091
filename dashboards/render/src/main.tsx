// Lays a dashboard out on Grafana's grid and draws each panel with Grafana's own components.
import { createTheme, dateTime, FieldConfigOptionsRegistry, standardFieldConfigEditorRegistry, standardTransformers,
  standardTransformersRegistry, ThemeContext } from '@grafana/data';
import { GlobalStyles, PanelChrome } from '@grafana/ui';
import { Component, useEffect, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { panelData, Time, variables } from './data';
import { draw } from './panels';

const { picture } = window as any;
const dashboard = picture.dashboard;
const theme = createTheme({ colors: { mode: 'dark' } });
const HEADER = 46, ROW = 38, GAP = 8;

registerTransformations();
registerFieldOptions();
main();

async function main() {
  const time = new Time(picture.minutes * 60);
  const selection = await variables(dashboard, picture.variables, time);
  const shown = visible();
  const report = { empty: [] as string[], errors: [] as string[] };
  let pending = shown.filter((panel) => panel.type !== 'row').length;
  const done = (panel: any, error: any, rows: number) => {
    if (error) report.errors.push(`${panel.title}: ${error}`);
    else if (!rows) report.empty.push(panel.title);
    pending -= 1;
    if (!pending) setTimeout(() => { (window as any).rendered = { height: HEADER + picture.rows * ROW, ...report }; }, 1500);
  };
  createRoot(document.getElementById('root')!).render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <div style={{ background: theme.colors.background.canvas, color: theme.colors.text.primary, minHeight: '100vh' }}>
        <Header selection={selection} />
        <div style={{ position: 'relative' }}>
          {shown.map((panel) => <Cell key={panel.id} panel={panel} time={time} selection={selection} done={done} />)}
        </div>
      </div>
    </ThemeContext.Provider>,
  );
}

// The panels that are in the picture. A collapsed row is one line.
function visible() {
  return dashboard.panels.filter((panel: any) => panel.gridPos.y < picture.rows);
}

function Header({ selection }: any) {
  const boxes = dashboard.templating.list.filter((variable: any) => variable.type !== 'datasource');
  return (
    <div style={{ height: HEADER, display: 'flex', gap: 12, alignItems: 'center', padding: '0 12px', boxSizing: 'border-box' }}>
      <b style={{ fontSize: 18, fontWeight: 500 }}>{dashboard.title}</b>
      {boxes.map(({ name, label }: any) => (
        <span key={name} style={{ border: `1px solid ${theme.colors.border.medium}`, borderRadius: 6, padding: '3px 8px' }}>
          <span style={{ color: theme.colors.text.secondary }}>{label} </span>{selection.label(name)}
        </span>
      ))}
      <span style={{ marginLeft: 'auto', color: theme.colors.text.secondary }}>Last {picture.minutes} minutes</span>
    </div>
  );
}

function Cell({ panel, time, selection, done }: any) {
  const { x, y, w, h } = panel.gridPos;
  const column = (picture.width - GAP) / 24;
  const width = Math.floor(w * column - GAP), height = h * ROW - GAP;
  const title = selection.replace(panel.title);
  return (
    <div style={{ position: 'absolute', left: GAP + x * column, top: y * ROW, width, height }}>
      {panel.type === 'row'
        ? <div style={{ fontSize: 16, fontWeight: 500, padding: '4px 0' }}>{panel.collapsed ? '▸' : '▾'} {title}</div>
        : <Panel panel={panel} title={title} width={width} height={height} time={time} selection={selection} done={done} />}
    </div>
  );
}

function Panel({ panel, title, width, height, time, selection, done }: any) {
  const [frames, setFrames] = useState<any>(null);
  useEffect(() => {
    panelData(panel, width, time, selection, theme)
      .then((frames: any[]) => {
        setFrames(frames);
        done(panel, null, panel.type === 'text' ? 1 : frames.reduce((sum, frame) => sum + frame.length, 0));
      })
      .catch((error: any) => done(panel, error, 0));
  }, []);
  const range = { from: dateTime(time.from * 1000), to: dateTime(time.to * 1000) };
  const timeRange = { ...range, raw: range };
  return (
    <PanelChrome width={width} height={height} title={title}>
      {(width: number, height: number) => (
        <Boundary onError={(error: any) => done(panel, error, 0)}>
          {frames && draw({ panel, frames, width, height, theme, timeRange, selection })}
        </Boundary>
      )}
    </PanelChrome>
  );
}

class Boundary extends Component<any, any> {
  state = { failed: false };
  static getDerivedStateFromError() { return { failed: true }; }
  componentDidCatch(error: any) { this.props.onError(error); }
  render() { return this.state.failed ? null : this.props.children; }
}

function registerTransformations() {
  const all = new Map(Object.values(standardTransformers).map((one: any) => [one.id, one]));
  standardTransformersRegistry.setInit(() => [...all.values()].map((one: any) => ({
    id: one.id, name: one.name, transformation: async () => one, editor: () => null, imageDark: '', imageLight: '',
  } as any)));
}

// Every option of a field is taken as it is written in the JSON.
function registerFieldOptions() {
  const standard = ['unit', 'decimals', 'displayName', 'min', 'max', 'thresholds', 'mappings', 'color', 'noValue', 'links',
    'fieldMinMax'];
  const custom = ['lineWidth', 'lineStyle', 'fillOpacity', 'drawStyle', 'stacking', 'transform', 'gradientMode', 'barAlignment',
    'barWidthFactor', 'showPoints', 'spanNulls', 'axisSoftMax', 'axisSoftMin', 'width', 'minWidth', 'align', 'cellOptions',
    'filterable'];
  const option = (path: string, isCustom: boolean) => ({
    id: path, path: isCustom ? path.slice('custom.'.length) : path, isCustom, name: path, process: (value: any) => value,
    shouldApply: () => true, override: () => null, editor: () => null,
  } as any);
  const registry = new FieldConfigOptionsRegistry(() => [
    ...standard.map((id) => option(id, false)), ...custom.map((id) => option(`custom.${id}`, true)),
  ]);
  standardFieldConfigEditorRegistry.setInit(() => registry.list() as any);
  (window as any).fieldOptions = registry;
}
