/** Builds dist/ once before the tests that run the product as a user does. Types are `npm run types`' business. */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

export default function build(): void {
  const root = fileURLToPath(new URL("../..", import.meta.url));
  execFileSync(process.execPath, ["node_modules/typescript/bin/tsc", "-p", "tsconfig.build.json", "--noCheck"], {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
  });
}
