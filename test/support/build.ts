/** Builds dist/ once before the tests that run the product as a user does. Types are `npm run types`' business. */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

/** Set for the tests of a run that has built dist/. */
export const builtMark = "SNUG_TEST_BUILT";

export default function build(): void {
  const root = fileURLToPath(new URL("../..", import.meta.url));
  execFileSync(process.execPath, ["node_modules/typescript/bin/tsc", "-p", "tsconfig.build.json", "--noCheck"], {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
  });
  process.env[builtMark] = "1";
}
