// Adds lock entries for optional platform packages that the registry at hand does not carry.
//
// `npm install` leaves such packages out of package-lock.json without a word, and `npm ci` then refuses the lock.
// Run after every dependency change: node scripts/complete-lock.mjs && npm ci --dry-run
import { readFileSync, writeFileSync } from "node:fs";

const path = new URL("../package-lock.json", import.meta.url);
const lock = JSON.parse(readFileSync(path, "utf8"));

/** Platform fields from a package name such as "@scope/mac-arm64-metal". */
function platformOf(name) {
  const word = name.split("/").pop();
  const os = /win/.test(word) && !/darwin/.test(word) ? "win32" : /mac|darwin/.test(word) ? "darwin" : "linux";
  const cpu = /arm64/.test(word) ? "arm64" : /armv7l/.test(word) ? "arm" : /riscv64/.test(word) ? "riscv64" : "x64";
  return { os: [os], cpu: [cpu] };
}

const added = [];
for (const entry of Object.values({ ...lock.packages })) {
  for (const [name, range] of Object.entries(entry.optionalDependencies ?? {})) {
    const place = `node_modules/${name}`;
    const present = Object.keys(lock.packages).some((key) => key.endsWith(place));
    if (present || !/^\d/.test(range)) continue;
    lock.packages[place] = { version: range, optional: true, ...platformOf(name) };
    added.push(`${name}@${range}`);
  }
}

lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => a.localeCompare(b, "en")));
writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`);
console.log(added.length === 0 ? "The lock is complete." : `Added: ${added.join(", ")}`);
