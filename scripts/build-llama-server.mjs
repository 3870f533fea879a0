// Builds `llama-server` (with `llama-quantize` and `llama-perplexity`) from the llama.cpp source that the installed
// node-llama-cpp carries, so that both backends run the same release.
//
//   node scripts/build-llama-server.mjs [--cuda | --vulkan | --metal] [--jobs n] [--portable | --binding-kernels] [--where]
//
// --portable leaves out what only this processor can do. --binding-kernels computes with node-llama-cpp's own CPU
// kernels instead of freshly compiled ones, so that benches compare programs and not compilers.
// Needs git, cmake and a C++17 compiler; ninja is used where present. The result is kept in
// <cache>/snug/llama-server/<release>-<variant>/bin, and a second call only prints its place. A call that was cut goes on
// where it stopped. On 2 cores it takes about ten minutes.
import { spawnSync } from "node:child_process";
import {
  accessSync,
  constants,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { arch, availableParallelism, homedir, platform } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

const programs = ["llama-server", "llama-quantize", "llama-perplexity"];
const flags = process.argv.slice(2);
const gpu = ["cuda", "vulkan", "metal"].find((name) => flags.includes(`--${name}`));
const suffix = platform() === "win32" ? ".exe" : "";

const packageFolder = fileURLToPath(new URL("../node_modules/node-llama-cpp/llama", import.meta.url));
const release = JSON.parse(readFileSync(join(packageFolder, "binariesGithubRelease.json"), "utf8")).release;
const portable = flags.includes("--portable");
const bindingKernels = flags.includes("--binding-kernels");
const variant = `${gpu ?? "cpu"}${portable ? "-portable" : ""}${bindingKernels ? "-binding" : ""}`;
const folder = join(cacheFolder(), "snug", "llama-server", `${release}-${variant}`);
const server = join(folder, "bin", `llama-server${suffix}`);

function cacheFolder() {
  if (process.env.XDG_CACHE_HOME) return process.env.XDG_CACHE_HOME;
  if (platform() === "darwin") return join(homedir(), "Library", "Caches");
  if (platform() === "win32") return process.env.LOCALAPPDATA ?? join(homedir(), "AppData", "Local");
  return join(homedir(), ".cache");
}

function onPath(name) {
  return (process.env.PATH ?? "").split(delimiter).some((place) => {
    try {
      accessSync(join(place, name + suffix), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function fail(message) {
  console.error(message);
  process.exit(1);
}

function run(command, args, cwd) {
  const { status, error } = spawnSync(command, args, { cwd, stdio: ["ignore", 2, 2] });
  if (error !== undefined) fail(`${command} could not be started: ${error.message}`);
  if (status !== 0) fail(`${command} ${args[0]} ended with ${status}; call this again to go on from here.`);
}

function requireTools() {
  const compiler = process.env.CXX ?? ["c++", "g++", "clang++", "cl"].find(onPath);
  const missing = ["git", "cmake"].filter((name) => !onPath(name));
  if (compiler === undefined) missing.push("a C++ compiler");
  if (gpu === "cuda" && !onPath("nvcc") && process.env.CUDACXX === undefined) missing.push("nvcc (CUDA toolkit)");
  if (gpu === "vulkan" && !onPath("glslc")) missing.push("glslc (Vulkan SDK)");
  if (missing.length > 0)
    fail(`To build llama-server, install: ${missing.join(", ")}. Debian: apt-get install git cmake g++`);
}

/** The source as the release was built from it, the binding's own patches aside: they concern its estimator alone. */
function checkOutSource() {
  const source = join(folder, "source");
  const done = join(folder, "source.done");
  if (existsSync(done)) return source;
  rmSync(source, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  run("git", ["clone", "--quiet", join(packageFolder, "gitRelease.bundle"), source]);
  writeFileSync(done, `${release}\n`);
  return source;
}

function build(source) {
  const work = join(folder, "build");
  const options = [
    "-DCMAKE_BUILD_TYPE=Release",
    `-DBUILD_SHARED_LIBS=${bindingKernels ? "ON" : "OFF"}`,
    `-DGGML_BACKEND_DL=${bindingKernels ? "ON" : "OFF"}`,
    `-DGGML_NATIVE=${portable || bindingKernels ? "OFF" : "ON"}`,
    "-DCMAKE_BUILD_RPATH_USE_ORIGIN=ON",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
    `-DLLAMA_BUILD_COMMIT=${release}`,
    `-DGGML_CUDA=${gpu === "cuda" ? "ON" : "OFF"}`,
    `-DGGML_VULKAN=${gpu === "vulkan" ? "ON" : "OFF"}`,
    `-DGGML_METAL=${gpu === "metal" ? "ON" : "OFF"}`,
  ];
  const generator = onPath("ninja") ? ["-G", "Ninja"] : [];
  run("cmake", ["-S", source, "-B", work, ...generator, ...options]);
  const asked = flags.indexOf("--jobs");
  const jobs = asked === -1 ? availableParallelism() : Number(flags[asked + 1]);
  if (!Number.isInteger(jobs) || jobs < 1) fail("--jobs needs a whole number above 0.");
  run("cmake", ["--build", work, "--config", "Release", "--parallel", String(jobs), "--target", ...programs]);
  return work;
}

/** Copies last the server, whose presence means that all is there. */
function keep(work) {
  const bin = join(folder, "bin");
  mkdirSync(bin, { recursive: true });
  if (bindingKernels) keepLibraries(join(work, "bin"), bin);
  for (const name of [...programs].reverse()) {
    const built = ["bin", join("bin", "Release")].map((place) => join(work, place, name + suffix)).find(existsSync);
    if (built === undefined) fail(`The build made no ${name}.`);
    run("cmake", ["-E", "copy", built, join(bin, name + suffix)]);
  }
  rmSync(join(folder, "build"), { recursive: true, force: true });
}

/** Our libraries, and beside them the binding's kernels, of which the server loads the best for this processor. */
function keepLibraries(built, bin) {
  const binaries = `${platform() === "darwin" ? "mac" : "linux"}-${arch()}`;
  const kernels = fileURLToPath(
    new URL(`../node_modules/@node-llama-cpp/${binaries}/bins/${binaries}`, import.meta.url),
  );
  const isLibrary = (name) => /\.so(\.|$)|\.dylib$/.test(name);
  for (const name of readdirSync(built)) {
    if (isLibrary(name) && !name.includes("ggml-cpu"))
      cpSync(join(built, name), join(bin, name), { dereference: true });
  }
  for (const name of readdirSync(kernels)) {
    if (isLibrary(name) && name.includes("ggml-cpu")) cpSync(join(kernels, name), join(bin, name));
  }
  // The kernels ask for it by the name without a version, and must not get a second one.
  const base = readdirSync(bin).find((name) => /^libggml-base\.so\.\d+$/.test(name));
  if (base === undefined) return;
  rmSync(join(bin, "libggml-base.so"), { force: true });
  symlinkSync(base, join(bin, "libggml-base.so"));
}

if (flags.includes("--where")) {
  if (!existsSync(server)) fail(`Nothing is built at ${server} yet.`);
} else if (!existsSync(server)) {
  requireTools();
  keep(build(checkOutSource()));
}
console.log(server);
