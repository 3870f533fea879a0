import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

const read = (name: string) => readFileSync(new URL(`../../${name}`, import.meta.url), "utf8");
const setting = (text: string, name: string) => new RegExp(`^${name} = "([^"]*)"`, "m").exec(text)?.[1];

test("the bots' Worker shares runtime, database and tables with the API's, and finds it by its name", () => {
  const [api, bots] = [read("wrangler.toml"), read("wrangler.bots.toml")];
  for (const name of ["compatibility_date", "database_name", "migrations_dir"]) {
    expect(setting(bots, name), name).toBe(setting(api, name));
  }
  expect(setting(bots, "service")).toBe(setting(api, "name"));
  expect(setting(bots, "name")).not.toBe(setting(api, "name"));
  const className = setting(bots, "class_name");
  expect(read(setting(bots, "main")!)).toContain(`export { ${className} }`);
});
