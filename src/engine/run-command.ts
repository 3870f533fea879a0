/** Runs a tool for what it prints. */
import { execFile } from "node:child_process";
import { commandOutputBytesMax, deviceProbeMsMax } from "../core/limits.ts";

/** Standard output; undefined when the tool is not there, fails or takes too long. */
export function runCommandQuietly(command: string, parameters: readonly string[]): Promise<string | undefined> {
  return new Promise((resolve) => {
    const options = { timeout: deviceProbeMsMax, maxBuffer: commandOutputBytesMax, windowsHide: true };
    execFile(command, [...parameters], options, (error, output) => resolve(error === null ? output : undefined));
  });
}
