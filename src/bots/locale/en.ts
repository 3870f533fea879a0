import type { Texts } from "./texts.ts";

const plural = (count: number, one: string) => (count === 1 ? `1 ${one}` : `${count} ${one}s`);

export const en: Texts = {
  commands: {
    ask: {
      name: "ask",
      description: "Ask the language model a question",
      options: {
        prompt: { name: "prompt", description: "What you want to know" },
        model: { name: "model", description: "Which model answers; leave out for this channel's" },
        private: { name: "private", description: "Only you see the answer" },
        file: { name: "file", description: "A text file to read along with the question" },
      },
    },
    fits: {
      name: "fits",
      description: "Does a model fit a graphics card, how fast, and what would be better",
      options: { query: { name: "query", description: "A model and a card, such as: 13b 6gb" } },
    },
    compare: {
      name: "compare",
      description: "One model at several precisions on this machine: speed, memory, quality",
      options: {
        model: { name: "model", description: "A model from /models; empty: the channel's" },
        quantizations: { name: "quantizations", description: "Such as f16,q8_0,q4_k_m; empty: what is there" },
        prompt: { name: "prompt", description: "A question for all of them" },
        force: { name: "force", description: "Although people are being answered" },
      },
    },
    models: { name: "models", description: "The models that can answer here" },
    model: {
      name: "model",
      description: "Show or choose the model of this channel",
      options: { name: { name: "name", description: "A model from /models, or: default" } },
    },
    persona: {
      name: "persona",
      description: "Show, set or remove what the model is told about its role in this channel",
      options: {
        text: { name: "text", description: "The role, in your words" },
        remove: { name: "remove", description: "Go back to no role" },
      },
    },
    stats: {
      name: "stats",
      description: "Requests, tokens and speed of everybody (administrators)",
      options: { period: { name: "period", description: "How far back" } },
    },
    usage: {
      name: "usage",
      description: "Your own requests and tokens",
      options: { period: { name: "period", description: "How far back" } },
    },
    forget: { name: "forget", description: "Stop using what you said in this channel so far" },
    help: { name: "help", description: "What I can do and how to ask" },
  },
  askAbout: {
    name: "Ask about this",
    title: "Ask about this message",
    label: "Your question",
    placeholder: "Leave empty for an explanation",
    question: "Explain this message.",
    about: "About this message",
  },
  periods: { day: "24 hours", week: "7 days", month: "30 days" },

  thinking: "Thinking …",
  queued: (position, seconds) =>
    `⏳ Number ${position} in line${seconds === undefined ? "" : `, about ${seconds} s`} …`,
  preparing: (step, share) =>
    step === "load"
      ? "⏳ Loading the model …"
      : `⏳ Fetching the model${share === undefined ? "" : `, ${Math.floor(share * 100)} %`} …`,
  thoughts: "Thoughts",
  stopped: "stopped",
  questionDeleted: "stopped: the question was deleted",
  interrupted: "interrupted: I am restarting; ask again in a minute",
  cutAtTokenLimit: "cut at the token limit",
  cutAtReplyLimit: "cut: the platform closes a private reply after 15 minutes",
  emptyAnswer: "The model had nothing to say.",
  continuedBelow: "continued below",
  restFollowsAsFile: (chars) =>
    `writing on, ${chars.toLocaleString("en")} characters so far; the whole follows as a file`,
  wholeAnswerInFile: (chars) => `the whole answer (${chars.toLocaleString("en")} characters) is in the file`,
  fileTooLarge: "the whole answer is too large for a file here",
  usingLastMessages: (count) => `using the last ${plural(count, "message")}`,
  tokensPerSecond: (rate) => `${rate} tokens/s`,
  answerFileDescription: "The whole answer as Markdown",

  buttons: { stop: "Stop", regenerate: "Regenerate", up: "Good answer", down: "Bad answer" },
  onlyAskerMayStop: "Only the one who asked, or an administrator, can stop this answer.",
  onlyAskerMayRegenerate: "Only the one who asked, or an administrator, can have this answered again.",
  answerOver: "That answer is already over.",
  answerForgotten: "I no longer have that question in mind. Please ask it again.",
  voteNoted: { up: "Thank you, noted as a good answer.", down: "Thank you, noted as a bad answer." },

  notAllowedHere: "I am not allowed to answer you here. An administrator can change that.",
  statsAdminsOnly: "Only administrators can see the statistics of everybody. Your own are in /usage.",
  adminsOnly: "Only administrators can use this command.",
  managersOnly: "Only those who manage this channel can change that.",
  tooOftenUser: (seconds) => `That was many questions in a short time. Please try again in ${seconds} s.`,
  tooOftenChannel: (seconds) => `This channel asks a lot right now. Please try again in ${seconds} s.`,
  stillAnswering: (count) =>
    `I am still working on ${count === 1 ? "your last question" : `${count} questions of yours`}. Wait for it or press Stop.`,
  restarting: "I am restarting. Please ask again in a minute.",
  emptyQuestion: "There is no question. Write something after my name, or use /ask.",
  questionTooLong: (charsMax) =>
    `That question is too long; at most ${charsMax.toLocaleString("en")} characters. A text file can be longer.`,
  blockedByPlatform: "A filter of this server refused the answer.",

  fileIsPicture: (name) => `I can only read text, and “${name}” is a picture. Describe it in words and I will try.`,
  fileIsDocument: (name) =>
    `I can only read plain text, not “${name}”. Copy the text of interest into a .txt file or the question.`,
  fileIsNotText: (name) => `I can only read text files, and “${name}” is not one.`,
  fileOverLimit: (name, limit) => `“${name}” is too large; a text file may have ${limit}.`,
  fileUnreadable: (name) => `I could not download “${name}”. Please attach it again.`,
  tooManyFiles: (countMax) => `Please attach at most ${countMax} files.`,

  modelsTitle: "Models",
  modelLoaded: "ready",
  modelDemo: "tiny demo",
  modelHere: "used in this channel",
  modelContext: (tokens) => `context ${tokens}`,
  modelsNone: "There is no model at the moment.",
  modelUnknown: (name, known) => `There is no model “${name}”. I have: ${known}.`,
  modelSet: (name) => `This channel now asks **${name}**.`,
  modelReset: (name) => `This channel is back to the default, **${name}**.`,
  modelCurrent: (name, example) => `This channel asks **${name}**. Choose another with \`${example}\`.`,
  defaultModel: "default",

  personaSet: "Noted. From now on the model is told this in this channel:",
  personaRemoved: "Removed. The model is told nothing about a role in this channel.",
  personaNone: (example) => `The model is told nothing about a role in this channel. Set one with \`${example}\`.`,
  personaCurrent: "In this channel the model is told:",
  personaTooLong: (charsMax) =>
    `Please keep it to ${charsMax.toLocaleString("en")} characters; it is read again with every question.`,

  forgotten: "Forgotten. I no longer use anything you said in this channel before now.",

  usageTitle: (period) => `Your last ${period}`,
  statsTitle: (period) => `Everybody, last ${period}`,
  usageRequests: (requests, failed, aborted) =>
    `${plural(requests, "question")}${failed === 0 ? "" : `, ${failed} failed`}${aborted === 0 ? "" : `, ${aborted} stopped`}`,
  usageTokens: (prompt, completion, cached) =>
    `${prompt.toLocaleString("en")} tokens read${cached === 0 ? "" : ` (${cached.toLocaleString("en")} of them remembered)`}, ${completion.toLocaleString("en")} written`,
  usageNone: "No questions yet.",
  statsByModel: "By model",
  statsByUser: "By user",
  statsBySource: "By source",
  statsFirstWord: (p50, p95) => `first word after ${p50}${p95 === undefined ? "" : ` (95 % within ${p95})`}`,
  statsFeedback: "Thumbs",
  statsRow: (name, requests, tokens) =>
    `${name}: ${plural(requests, "question")}, ${tokens.toLocaleString("en")} tokens`,
  statsPicture: {
    title: (days) => `Tokens of the last ${days} days`,
    read: "read",
    written: "written",
    description: "Tokens read and written, day by day",
  },
  statsMore: (count) => `and ${count.toLocaleString("en")} more`,

  fitsNeedsQuery: "Name a model and a card, such as `/fits 13b 6gb`.",
  compareBegins: (model) => `Comparing the precisions of **${model}** …`,
  compareStep: (label, percent) => `${label} (${percent} %)`,
  compareCancelled: "The comparison was cancelled.",
  compareOver: "This comparison is over.",
  comparePicture: "Bars: speed, memory, first token and perplexity by precision",
  fitsPicture: "Memory bar: what fills the card",

  help: ({ commands, mention, ask, privately, followUps }) =>
    [
      "**Ask me anything in four ways**",
      `- \`/${ask}\` in any channel, \`${privately}\` if only you should see the answer`,
      `- Write ${mention} and your question`,
      followUps === "replies"
        ? "- Reply to one of my answers to go on; in a thread I remember the thread"
        : "- Write in the thread under an answer to go on; I remember what was said there",
      "- Send me a direct message",
      "",
      "**Commands**",
      ...commands.map(({ name, description }) => `- \`/${name}\` ${description}`),
      "",
      "Stop ends an answer, Regenerate tries again, the thumbs tell the administrators what is good. Deleting your question stops the work. Prompts and answers are not stored.",
    ].join("\n"),

  failure: (sentence, requestId) => `⚠️ ${sentence} (request ${requestId})`,
  errorSentences: undefined,
  retryAfter: (seconds) => `Try again in ${seconds} s.`,
};
