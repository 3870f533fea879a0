/**
 * Takes the pictures in docs/admin-page.md: the real page in a real Chromium, over a month of made-up use.
 * Run: npx tsx tools/screens/admin.ts [folder]
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { openAdminStage } from "../../test/support/admin-stage.ts";
import { findChromium, openAdmin, signIn, startChromium } from "../../test/support/browser.ts";

const folder = process.argv[2] ?? "docs/images";
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

async function take(page: Page, name: string, path: string): Promise<void> {
  await page.goto(`${stage.url}${path}`);
  await page.waitForLoadState("networkidle", { timeout: 1500 }).catch(() => {});
  await page.screenshot({ path: join(folder, `${name}.jpg`), type: "jpeg", quality: 72, fullPage: true });
}

const looks = {
  desktop: {},
  dark: { colorScheme: "dark" },
  chinese: { locale: "zh-CN" },
  phone: { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true },
  "phone-dark": {
    viewport: { width: 390, height: 844 },
    isMobile: true,
    hasTouch: true,
    colorScheme: "dark",
    locale: "zh-CN",
  },
} as const;

for (const [look, options] of Object.entries(looks)) {
  const { page, problems } = await openAdmin(browser, stage.url, options);
  if (process.argv[2] !== undefined) await take(page, `${look}-sign-in`, "/admin");
  await signIn(page, stage.api.admin.secret);
  await page.locator("#live").waitFor();
  for (const section of ["now", "usage", "keys", "engines"]) {
    await take(page, `admin-${look}-${section}`, section === "now" ? "/admin" : `/admin/${section}?range=month`);
  }
  if (problems.length > 0) console.log(look, problems);
  await page.context().close();
}
stage.attic.release("answer");
await Promise.all(asked);
await browser.close();
await stage.close();
process.exit();
