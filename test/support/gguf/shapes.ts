/** Dimensions of test models: three generated sizes, and those of well-known models for sparse files. */

export interface Shape {
  layerCount: number;
  embeddingLength: number;
  headCount: number;
  headCountKv: number;
  /** Elements per head. */
  headLength: number;
  feedForwardLength: number;
  contextLengthTrained: number;
  /** For mixture-of-experts architectures. */
  expertCount?: number;
  expertUsedCount?: number;
  expertFeedForwardLength?: number;
  slidingWindow?: number;
  /** The vocabulary is filled up to this with placeholders. */
  vocabularySize?: number;
  /** Leaves `output.weight` out, so the token embedding is used; scripted brains always write it. */
  tiedEmbeddings?: boolean;
}

/** Of embedding models and rerankers; its context is short enough to run over in a test. */
export const ENCODER_SHAPE: Shape = {
  layerCount: 2,
  embeddingLength: 64,
  headCount: 2,
  headCountKv: 2,
  headLength: 32,
  feedForwardLength: 64,
  contextLengthTrained: 256,
};

/** At F16: tiny 0.6 to 1.3 MB, small 20 to 40 MB, medium 0.9 GB. */
export const SHAPES = {
  tiny: {
    layerCount: 2,
    embeddingLength: 128,
    headCount: 4,
    headCountKv: 2,
    headLength: 32,
    feedForwardLength: 128,
    contextLengthTrained: 2048,
    expertCount: 4,
    expertUsedCount: 2,
    expertFeedForwardLength: 64,
    slidingWindow: 64,
  },
  small: {
    layerCount: 10,
    embeddingLength: 256,
    headCount: 8,
    headCountKv: 2,
    headLength: 32,
    feedForwardLength: 1024,
    contextLengthTrained: 4096,
    expertCount: 8,
    expertUsedCount: 2,
    expertFeedForwardLength: 256,
    slidingWindow: 256,
  },
  medium: {
    layerCount: 28,
    embeddingLength: 1024,
    headCount: 16,
    headCountKv: 8,
    headLength: 128,
    feedForwardLength: 3072,
    contextLengthTrained: 8192,
    expertCount: 32,
    expertUsedCount: 4,
    expertFeedForwardLength: 256,
    slidingWindow: 512,
  },
  "qwen2.5-7b": {
    layerCount: 28,
    embeddingLength: 3584,
    headCount: 28,
    headCountKv: 4,
    headLength: 128,
    feedForwardLength: 18944,
    contextLengthTrained: 32768,
    vocabularySize: 152064,
  },
  "qwen3-0.6b": {
    layerCount: 28,
    embeddingLength: 1024,
    headCount: 16,
    headCountKv: 8,
    headLength: 128,
    feedForwardLength: 3072,
    contextLengthTrained: 40960,
    vocabularySize: 151936,
    tiedEmbeddings: true,
  },
  "qwen3-8b": {
    layerCount: 36,
    embeddingLength: 4096,
    headCount: 32,
    headCountKv: 8,
    headLength: 128,
    feedForwardLength: 12288,
    contextLengthTrained: 40960,
    vocabularySize: 151936,
  },
  "llama3.1-8b": {
    layerCount: 32,
    embeddingLength: 4096,
    headCount: 32,
    headCountKv: 8,
    headLength: 128,
    feedForwardLength: 14336,
    contextLengthTrained: 131072,
    vocabularySize: 128256,
  },
  "gemma3-12b": {
    layerCount: 48,
    embeddingLength: 3840,
    headCount: 16,
    headCountKv: 8,
    headLength: 256,
    feedForwardLength: 15360,
    contextLengthTrained: 131072,
    slidingWindow: 1024,
    vocabularySize: 262208,
    tiedEmbeddings: true,
  },
  "gemma3-1b": {
    layerCount: 26,
    embeddingLength: 1152,
    headCount: 4,
    headCountKv: 1,
    headLength: 256,
    feedForwardLength: 6912,
    contextLengthTrained: 32768,
    slidingWindow: 512,
    vocabularySize: 262144,
    tiedEmbeddings: true,
  },
  "qwen3-30b-a3b": {
    layerCount: 48,
    embeddingLength: 2048,
    headCount: 32,
    headCountKv: 4,
    headLength: 128,
    feedForwardLength: 6144,
    contextLengthTrained: 40960,
    expertCount: 128,
    expertUsedCount: 8,
    expertFeedForwardLength: 768,
    vocabularySize: 151936,
  },
  "mixtral-8x7b": {
    layerCount: 32,
    embeddingLength: 4096,
    headCount: 32,
    headCountKv: 8,
    headLength: 128,
    feedForwardLength: 14336,
    contextLengthTrained: 32768,
    expertCount: 8,
    expertUsedCount: 2,
    expertFeedForwardLength: 14336,
    vocabularySize: 32000,
  },
} as const satisfies Record<string, Shape>;

export type ShapeName = keyof typeof SHAPES;
