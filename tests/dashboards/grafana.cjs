// Shows panels as Grafana does, with Grafana's own code (@grafana/data): answers of Prometheus become data frames, which are
// transformed and formatted. Reads panels with answers as JSON from standard input; writes what each panel shows.
'use strict';

// the library is made for browsers: react-use must be loaded before there is a window
globalThis.navigator ??= { userAgent: 'node', language: 'en-US', languages: ['en-US'] };
require('react-use');
globalThis.window = { addEventListener() {}, location: { search: '' } };
const grafana = require('@grafana/data');
const { firstValueFrom } = require('rxjs');

const { FieldType } = grafana;

const transformers = [...new Set(Object.values(grafana.standardTransformers))];
grafana.standardTransformersRegistry.setInit(() =>
  transformers.map((transformation) => ({
    id: transformation.id, name: transformation.name, description: '', imageDark: '', imageLight: '',
    transformation: () => Promise.resolve(transformation),
  })));

// the options that all panels have, with Grafana's processors
const standard = {
  unit: grafana.unitOverrideProcessor, decimals: grafana.numberOverrideProcessor, min: grafana.numberOverrideProcessor,
  max: grafana.numberOverrideProcessor, fieldMinMax: grafana.booleanOverrideProcessor, noValue: grafana.stringOverrideProcessor,
  displayName: grafana.displayNameOverrideProcessor, mappings: grafana.valueMappingsOverrideProcessor,
  thresholds: grafana.thresholdsOverrideProcessor, links: grafana.dataLinksOverrideProcessor, color: grafana.identityOverrideProcessor,
};

// units that Grafana does not know, and appends as they are
const SUFFIXES = ['conn/s'];

/** The options of fields: those above, and those of the panel's own type, which this project sets as they are. */
function registry(panel) {
  const fieldConfig = panel.fieldConfig ?? { defaults: {}, overrides: [] };
  const ids = fieldConfig.overrides.flatMap(({ properties }) => properties.map(({ id }) => id));
  const custom = new Set(ids.filter((id) => id.startsWith('custom.')));
  Object.keys(fieldConfig.defaults.custom ?? {}).forEach((name) => custom.add(`custom.${name}`));
  const option = (id, path, isCustom, process) =>
    ({ id, path, isCustom, name: id, process, shouldApply: () => true, settings: {} });
  return new grafana.FieldConfigOptionsRegistry(() => [
    ...Object.entries(standard).map(([id, process]) => option(id, id, false, process)),
    ...[...custom].map((id) => option(id, id.slice('custom.'.length), true, grafana.identityOverrideProcessor)),
  ]);
}

/** A frame as Grafana's data source makes it of an answer. */
function frames(target, answer, isSeveral) {
  const value = (text) => parseFloat(text.replace('Inf', 'Infinity'));
  if (target.format === 'table') {
    const labels = [...new Set(answer.flatMap(({ metric }) => Object.keys(metric)))].sort();
    const column = (name, type, values) => ({ name, type, config: {}, values });
    return [{
      refId: target.refId, length: answer.length,
      fields: [
        column('Time', FieldType.time, answer.map(({ value: [time] }) => time * 1000)),
        ...labels.map((label) => column(label, FieldType.string, answer.map(({ metric }) => metric[label] ?? ''))),
        column(isSeveral ? `Value #${target.refId}` : 'Value', FieldType.number, answer.map((one) => value(one.value[1]))),
      ],
    }];
  }
  return answer.map(({ metric, value: one, values }) => {
    const points = values ?? [one];
    const legend = target.legendFormat.replace(/\{\{(\w+)\}\}/g, (_, label) => metric[label] ?? label);
    return {
      refId: target.refId, name: legend, length: points.length,
      fields: [
        { name: 'Time', type: FieldType.time, config: {}, values: points.map(([time]) => time * 1000) },
        {
          name: 'Value', type: FieldType.number, labels: metric, config: { displayNameFromDS: legend },
          values: points.map(([, text]) => value(text)),
        },
      ],
    };
  });
}

async function show({ dashboard, panel, answers }) {
  const problems = [];
  const { targets, transformations = [], fieldConfig } = panel;
  let data = targets.flatMap((target, at) => frames(target, answers[at], targets.length > 1));
  for (const { id } of transformations) {
    if (!grafana.standardTransformersRegistry.getIfExists(id)) problems.push(`no transformation ${id}`);
  }
  if (transformations.length > 0) {
    // each name in "organize" must be a column: a wrong one changes nothing, silently
    const merged = transformations.findIndex(({ id }) => id === 'organize');
    const before = await transformed(transformations.slice(0, merged), data);
    const names = before.flatMap(({ fields }) => fields.map((field) => field.name));
    const { excludeByName = {}, indexByName = {}, renameByName = {} } = transformations[merged]?.options ?? {};
    const isComplete = answers.every((answer) => answer.length > 0);
    for (const name of Object.keys({ ...excludeByName, ...indexByName, ...renameByName })) {
      if (isComplete && !names.includes(name)) problems.push(`absent column ${name}`);
    }
    for (const name of names) {
      if (!(name in excludeByName) && !(name in renameByName)) problems.push(`column without a title: ${name}`);
    }
    data = await transformed(transformations, data);
  }
  const theme = grafana.createTheme();
  data = grafana.applyFieldOverrides({
    data, theme, timeZone: 'utc', fieldConfig, fieldConfigRegistry: registry(panel), replaceVariables: (text) => text,
  });
  const units = [fieldConfig.defaults, ...fieldConfig.overrides.flatMap(({ properties }) =>
    properties.filter(({ id }) => id === 'unit').map(({ value }) => ({ unit: value })))];
  const known = grafana.getValueFormats().flatMap(({ submenu }) => submenu.map(({ value }) => value));
  for (const { unit } of units) {
    if (unit && !known.includes(unit) && !SUFFIXES.includes(unit)) problems.push(`unknown unit ${unit}`);
  }
  for (const { matcher } of fieldConfig.overrides) {
    const matches = grafana.getFieldMatcher(matcher);
    const isUsed = data.some((frame) => frame.fields.some((field) => matches(field, frame, data)));
    if (panel.type === 'table' && data[0]?.length > 0 && !isUsed) problems.push(`override of no column: ${matcher.options}`);
  }
  return { dashboard, title: panel.title, type: panel.type, problems, frames: data.map((frame) => shown(frame, data)) };
}

function transformed(transformations, data) {
  return firstValueFrom(grafana.transformDataFrame(transformations, data, { interpolate: (text) => text }));
}

/** Names of fields, and the text and color of each value. */
function shown(frame, all) {
  const cell = (field, value) => {
    const { text, prefix = '', suffix = '', color } = field.display(value);
    return { text: prefix + text + suffix, color: color ?? '', value: Number.isFinite(value) ? value : String(value) };
  };
  return {
    columns: frame.fields.map((field) => grafana.getFieldDisplayName(field, frame, all)),
    rows: Array.from({ length: frame.length }, (_, row) => frame.fields.map((field) => cell(field, field.values[row]))),
  };
}

async function main() {
  const input = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
  const output = [];
  for (const panel of input) output.push(await show(panel));
  process.stdout.write(JSON.stringify(output));
}

main();
