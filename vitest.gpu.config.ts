/** `npm run test:gpu`: needs a GPU, takes minutes, and is no part of `npm test`. */
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    name: "gpu",
    include: ["test/gpu/**/*.gpu.ts"],
    // One at a time: a card has one memory.
    fileParallelism: false,
    hookTimeout: 300_000,
    passWithNoTests: true,
  },
});
