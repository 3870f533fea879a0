#!/usr/bin/env node
/**
 * Evaluate the demo model in node-llama-cpp.
 *
 *   node eval.mjs --models F32.gguf,F16.gguf,Q8_0.gguf,Q4_0.gguf --data eval.json --ppl --speed
 *   node eval.mjs --models demo-chat-F16.gguf --chat [--questions file.txt] [--system "text"]
 *
 * --ppl     perplexity of the held-out answers, KL divergence and top-1 agreement against the first model,
 *           and a check that llama.cpp tokenizes like the Python tokenizer (data: export_gguf.py --eval-data)
 * --chat    the hand-written questions of questions.mjs, each one in a fresh chat, then the multi-turn chats
 * --exact   greedy answers to the held-out questions of the data file, counted when they are right to the letter
 * --speed   tokens per second, prompt and generation (CPU)
 * --grade   used with --chat: keyword check of every answer, prints the score
 */
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import {getLlama, LlamaChatSession, LlamaLogLevel} from "node-llama-cpp";
import {CHATS, QUESTIONS} from "./questions.mjs";

const args = process.argv.slice(2);
const flag = (name) => args.includes("--" + name);
const opt = (name, def) => (flag(name) ? args[args.indexOf("--" + name) + 1] : def);
const models = opt("models", "").split(",").filter(Boolean);
// A thread more than there are cores makes every token wait for the scheduler.
const threads = Number(opt("threads", 1));
const llama = await getLlama({gpu: false, build: "never", logLevel: LlamaLogLevel.error, maxThreads: threads});

const logSoftmax = (map) => {
    let max = -Infinity;
    for (const v of map.values()) max = Math.max(max, v);
    let sum = 0;
    for (const v of map.values()) sum += Math.exp(v - max);
    const lse = max + Math.log(sum);
    const out = new Float32Array(map.size);
    for (const [k, v] of map) out[k] = v - lse;
    return out;
};

async function perplexity(model, data, ref) {
    const same = data.texts.filter(({text, ids}) => JSON.stringify([...model.tokenize(text)]) === JSON.stringify(ids)).length;
    const context = await model.createContext({contextSize: 512, threads});
    const sequence = context.getSequence();
    const nll = [0, 0, 0], n = [0, 0, 0];           // 1 answers, 2 questions
    let kl = 0, top = 0, klMax = 0;
    const kept = [];
    for (const {ids, part} of data.rows) {
        await sequence.clearHistory();
        const input = ids.slice(0, -1).map((t, i) =>
            (part[i + 1] ? [t, {generateNext: {logits: true, options: {temperature: 1, topK: 0, topP: 1, minP: 0}}}] : t));
        const out = await sequence.controlledEvaluate(input);
        for (let i = 0; i < input.length; i++) {
            const kind = part[i + 1];
            if (!kind) continue;
            const lp = logSoftmax(out[i].next.logits);
            nll[kind] -= lp[ids[i + 1]];
            n[kind]++;
            if (kind !== 1) continue;
            if (ref == null) kept.push(lp);
            else {
                const p = ref[n[1] - 1];
                let d = 0, a = 0, b = 0;
                for (let k = 0; k < lp.length; k++) {
                    d += Math.exp(p[k]) * (p[k] - lp[k]);
                    if (p[k] > p[a]) a = k;
                    if (lp[k] > lp[b]) b = k;
                }
                kl += d;
                klMax = Math.max(klMax, d);
                top += a === b;
            }
        }
    }
    await context.dispose();
    const ppl = nll.map((x, i) => Math.exp(x / n[i]));
    return {ppl, n, kl: kl / n[1], klMax, top: top / n[1], same: `${same}/${data.texts.length}`, kept};
}

async function exact(model, data) {
    const context = await model.createContext({contextSize: 512, threads});
    const sequence = context.getSequence();
    const score = new Map();
    for (const {kind, q, a} of data.qa) {
        await sequence.clearHistory();
        const session = new LlamaChatSession({contextSequence: sequence, systemPrompt: ""});
        const got = (await session.prompt(q, {maxTokens: 160})).trim();
        const ok = a.includes(got);
        if (!ok && flag("verbose")) console.log(`[${kind}] ${q}\n   got  ${got}\n   want ${a[0]}`);
        const s = score.get(kind) ?? [0, 0];
        score.set(kind, [s[0] + ok, s[1] + 1]);
        session.dispose({disposeSequence: false});
    }
    await context.dispose();
    return score;
}

async function speed(model) {
    const context = await model.createContext({contextSize: 1024, threads});
    const sequence = context.getSequence();
    const prompt = model.tokenize("<|im_start|>user\n" + "what is the KV cache and why does it need VRAM? ".repeat(40) + "<|im_end|>\n<|im_start|>assistant\n", true);
    let t = performance.now();
    await sequence.evaluateWithoutGeneratingNewTokens(prompt);
    const pp = prompt.length / (performance.now() - t) * 1000;
    t = performance.now();
    let n = 0;
    for await (const _ of sequence.evaluate([prompt.at(-1)], {temperature: 0.8, yieldEogToken: true})) if (++n >= 256) break;
    const tg = n / (performance.now() - t) * 1000;
    await context.dispose();
    return {pp, tg};
}

async function chat(model, questions, fresh) {
    const context = await model.createContext({contextSize: 1024, threads});
    const sequence = context.getSequence();
    let good = 0, graded = 0, session;
    for (const [q, patterns] of questions) {
        if (fresh || session == null) {
            await sequence.clearHistory();
            session = new LlamaChatSession({contextSequence: sequence, ...(flag("system") ? {systemPrompt: opt("system")} : {})});
        }
        const a = await session.prompt(q, {temperature: Number(opt("temperature", 0)), maxTokens: 160});
        const ok = patterns?.every((p) => p.test(a));
        if (patterns) { graded++; good += ok; }
        console.log(`Q: ${q}\nA: ${a}${patterns && flag("grade") ? (ok ? "   [ok]" : "   [MISS]") : ""}`);
        if (fresh) session.dispose({disposeSequence: false});
    }
    if (graded && flag("grade")) console.log(`score ${good}/${graded}`);
    await context.dispose();
    return {good, graded};
}

let ref = null;
for (const file of models) {
    const model = await llama.loadModel({modelPath: path.resolve(file)});
    const size = fs.statSync(file).size;
    if (flag("ppl")) {
        const data = JSON.parse(fs.readFileSync(opt("data"), "utf8"));
        const r = await perplexity(model, data, ref);
        ref ??= r.kept;
        console.log(`${path.basename(file)} ${(size / 1e6).toFixed(2)} MB  perplexity answers ${r.ppl[1].toFixed(5)} (${r.n[1]} tokens), questions ${r.ppl[2].toFixed(3)} (${r.n[2]})  ` +
            `KL mean ${r.kl.toExponential(2)} max ${r.klMax.toFixed(3)}  top-1 same ${(r.top * 100).toFixed(2)}%  tokenizer same ${r.same}`);
    }
    if (flag("exact")) {
        const score = await exact(model, JSON.parse(fs.readFileSync(opt("data"), "utf8")));
        const sum = [...score.values()].reduce((t, v) => [t[0] + v[0], t[1] + v[1]], [0, 0]);
        console.log(`${path.basename(file)}  exact ${sum[0]}/${sum[1]}  ` + [...score].map(([k, v]) => `${k} ${v[0]}/${v[1]}`).join(", "));
    }
    if (flag("speed")) {
        const r = await speed(model);
        console.log(`${path.basename(file)}  prompt ${r.pp.toFixed(0)} tok/s  generation ${r.tg.toFixed(0)} tok/s`);
    }
    if (flag("chat")) {
        console.log(`== ${path.basename(file)}`);
        const own = opt("questions");
        await chat(model, own ? fs.readFileSync(own, "utf8").split("\n").filter(Boolean).map((q) => [q]) : QUESTIONS, true);
        for (const turns of own ? [] : CHATS) {
            console.log("-- one chat");
            await chat(model, turns.map((q) => [q]), false);
        }
    }
    await model.dispose();
}
await llama.dispose();
