// Types of Grafana's JSON: its schema, with texts in place of enumerations. The test appends the dashboards.
import type { AnnotationQuery, Dashboard } from '@grafana/schema';
import type * as barchart from '@grafana/schema/dist/esm/raw/composable/barchart/panelcfg/x/BarChartPanelCfg_types.gen';
import type * as statetimeline from '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as statushistory from '@grafana/schema/dist/esm/raw/composable/statushistory/panelcfg/x/StatusHistoryPanelCfg_types.gen';
import type * as table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as text from '@grafana/schema/dist/esm/raw/composable/text/panelcfg/x/TextPanelCfg_types.gen';
import type * as timeseries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

type Json<T> = T extends string ? `${T}`
  : T extends number | boolean | null | undefined ? T
  : T extends Array<infer U> ? Json<U>[]
  : T extends object ? { [K in keyof T]: Json<T[K]> } : T;

/** An annotation has the query of its data source, too. */
type Query = { expr: string; step: string; titleFormat: string; tagKeys: string; useValueForTime: boolean };
type Annotation = Json<AnnotationQuery> & Partial<Query>;

type Checked = Omit<Json<Dashboard>, 'annotations'> & { annotations: { list: Annotation[] } };

/** The options of each type of panel, and those of its fields; Grafana has defaults for all. */
type Options = {
  barchart: Json<Partial<barchart.Options>>; row: {}; stat: Json<Partial<stat.Options>>;
  'state-timeline': Json<Partial<statetimeline.Options>>; 'status-history': Json<Partial<statushistory.Options>>;
  table: Json<Partial<table.Options>>; text: Json<Partial<text.Options>>; timeseries: Json<Partial<timeseries.Options>>;
};
type Fields = {
  barchart: Json<Partial<barchart.FieldConfig>>; row: {}; stat: {};
  'state-timeline': Json<Partial<statetimeline.FieldConfig>>; 'status-history': Json<Partial<statushistory.FieldConfig>>;
  table: Json<Partial<table.FieldConfig>>; text: {}; timeseries: Json<Partial<timeseries.FieldConfig>>;
};

