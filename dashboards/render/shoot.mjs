// Renders dashboards with headless Chromium.
//
//   PROMETHEUS=URL node shoot.mjs PICTURES.json
//
// PICTURES.json is a list of { dashboard, variables, minutes, rows, width, scale, output }: the JSON file of a
// dashboard, the values of its variables, the time range up to now, the height in grid rows, and the PNG to write.
// The exit status is 1 if a query or a panel failed.
import { readFileSync } from 'node:fs';
import { chromium } from 'playwright-core';
import { preview } from 'vite';

const pictures = JSON.parse(readFileSync(process.argv[2]));
const server = await preview({ root: import.meta.dirname, logLevel: 'warn' });
const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update'],
});
let failed = false;
for (const picture of pictures) {
  const { width, scale } = picture;
  const page = await browser.newPage({ viewport: { width, height: 1000 }, deviceScaleFactor: scale });
  const errors = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  const dashboard = JSON.parse(readFileSync(picture.dashboard));
  await page.addInitScript((picture) => { window.picture = picture; }, { ...picture, dashboard });
  await page.goto(server.resolvedUrls.local[0]);
  await page.waitForFunction(() => window.rendered, null, { timeout: 180_000 });
  const { height, empty, errors: ofPanels } = await page.evaluate(() => window.rendered);
  await page.setViewportSize({ width, height });
  await page.waitForTimeout(1500); // charts draw again after a resize
  await page.screenshot({ path: picture.output });
  errors.push(...ofPanels);
  console.log(`${dashboard.title}: ${empty.length ? `empty: ${empty.join(', ')}` : 'complete'}`);
  for (const error of errors) console.log(`  ${error}`);
  failed ||= errors.length > 0;
  await page.close();
}
await browser.close();
await server.close();
process.exit(failed ? 1 : 0);
