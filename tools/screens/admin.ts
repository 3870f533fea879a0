/**
 * Takes the pictures in docs/admin-page.md: the real page in a real Chromium, over a month of made-up use.
 * Run: npx tsx tools/screens/admin.ts, or with a folder for every section in every look
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { BrowserContextOptions, Page } from "playwright-core";
import { openAdminStage } from "../../test/support/admin-stage.ts";
import { findChromium, openAdmin, signIn, startChromium } from "../../test/support/browser.ts";

const wanted = process.argv[2];
const folder = wanted ?? "docs/images";
mkdirSync(folder, { recursive: true });
const chromiumPath = findChromium();
if (chromiumPath === undefined) throw new Error("No Chromium found; install one or set SNUG_CHROMIUM.");
const stage = await openAdminStage();
const browser = await startChromium(chromiumPath);

const asked = [
  ["qwen3-14b", "ann", "discord"],
  ["qwen3-14b", "博文", "slack"],
  ["qwen3-14b", "carlos", "api"],
].map(([model, user, source]) =>
  stage.api
    .chat({ model, user, stream: true }, { headers: { "x-snug-source": source! } })
    .then((reply) => reply.text())
    .catch(() => {}),
);
await stage.attic.reached("answer");

interface Look {
  options: BrowserContextOptions;
  /** Sections by the name of their picture. */
  pictures: Record<string, string>;
}

const phone = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true };
const sections = { now: "/admin", usage: "/admin/usage?range=month", keys: "/admin/keys", engines: "/admin/engines" };
const allOf = (look: string) =>
  Object.fromEntries(Object.entries(sections).map(([section, path]) => [`${look}-${section}`, path]));

/** Those of the docs show what fits a screen; those to look at show whole pages, in every look. */
const looks: Look[] =
  wanted === undefined
    ? [
        { options: {}, pictures: { "admin-now": sections.now, "admin-usage": sections.usage } },
        { options: { ...phone, deviceScaleFactor: 1.5 }, pictures: { "admin-phone": sections.now } },
        {
          options: { ...phone, deviceScaleFactor: 1.5, colorScheme: "dark", locale: "zh-CN" },
          pictures: { "admin-dark": sections.usage },
        },
      ]
    : [
        { options: {}, pictures: allOf("light") },
        { options: { colorScheme: "dark" }, pictures: allOf("dark") },
        { options: { locale: "zh-CN" }, pictures: allOf("chinese") },
        { options: phone, pictures: allOf("phone") },
        { options: { ...phone, colorScheme: "dark", locale: "zh-CN" }, pictures: allOf("phone-dark") },
      ];

async function take(page: Page, name: string, path: string): Promise<void> {
  await page.goto(`${stage.url}${path}`);
  await page.waitForLoadState("networkidle", { timeout: 1500 }).catch(() => {});
  const fullPage = wanted !== undefined;
  await page.screenshot({ path: join(folder, `${name}.jpg`), type: "jpeg", quality: 74, fullPage });
}

for (const { options, pictures } of looks) {
  const { page, problems } = await openAdmin(browser, stage.url, options);
  await signIn(page, stage.api.admin.secret);
  await page.locator("#live").waitFor();
  for (const [name, path] of Object.entries(pictures)) await take(page, name, path);
  if (problems.length > 0) console.log(problems);
  await page.context().close();
}
stage.attic.release("answer");
await Promise.all(asked);
await browser.close();
await stage.close();
process.exit();
