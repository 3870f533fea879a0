/** A real Chromium for the admin page: where it is, and a page that has signed in. */
import { accessSync, constants } from "node:fs";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";

const places = [
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/usr/bin/google-chrome-stable",
  "/snap/bin/chromium",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

/** SNUG_CHROMIUM, or where systems put it; undefined when there is none. */
export function findChromium(): string | undefined {
  const named = process.env.SNUG_CHROMIUM;
  return [...(named === undefined || named === "" ? [] : [named]), ...places].find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

export function startChromium(executablePath: string): Promise<Browser> {
  // Containers have neither a kernel sandbox for it nor much shared memory.
  return chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"] });
}

/** A new browser profile at the sign-in page. Errors of the page and of its policy are collected. */
export async function openAdmin(
  browser: Browser,
  address: string,
  options: BrowserContextOptions = {},
): Promise<{ page: Page; problems: string[] }> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, locale: "en-US", ...options });
  const page = await context.newPage();
  const problems: string[] = [];
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("console", (message) => {
    // Answers with 4xx are written to the console by browser and htmx; tests cause them on purpose.
    if (
      message.type() === "error" &&
      !/^(?:Failed to load resource|Response Status Error Code 4)/.test(message.text())
    ) {
      problems.push(message.text());
    }
  });
  await page.goto(`${address}/admin`);
  return { page, problems };
}

export async function signIn(page: Page, key: string): Promise<void> {
  await page.locator("#key").fill(key);
  await page.locator("form[action='/admin/sign-in'] button").click();
}
