/**
 * Hand-written questions; none of them occurs in the training text (check: python3 check_questions.py).
 * They are a development set: the corpus was widened twice after looks at early answers to them.
 * questions-blind.txt was written after training and is read by eye (--chat --questions questions-blind.txt).
 * [question, patterns that a sensible answer must match]
 */
export const QUESTIONS = [
    ["Hey there, who am I chatting with?", [/(tiny|built-in) demo model/i]],
    ["hello :)", [/hello|hi/i]],
    ["Could you tell me what you are able to help with?", [/explain|estimate/i]],
    ["I own a 6 gig card, is a 7B at Q4_K_M going to work?", [/4\.2 GB/, /5\.6 GB/, /fits in 6 GB|6 GB card is enough/i]],
    ["Would an 8B model quantized to Q8_0 be alright on my 8GB graphics card?", [/8\.5 GB/, /10\.7 GB/, /No/, /Q[456]/]],
    ["How many gigabytes of video memory would a 14B model take in 4 bit?", [/8\.5 GB/, /10\.7 GB/]],
    ["So what on earth is GGUF?", [/llama\.cpp|file/i]],
    ["Why would somebody bother quantizing a network?", [/smaller|fits?\b.*GB|FP16|small GPU(?!s)/i]],
    ["What's NF4 all about?", [/normal/i]],
    ["Say I have a GTX 1060, which models can it handle?", [/6 GB/, /7B|8B/]],
    ["Which one do you like more: NF4 or INT4?", [/NF4/, /INT4/]],
    ["How does Q5_K_M stack up against Q8_0?", [/5\.7/, /8\.5/]],
    ["My generation is really sluggish, what could I try?", [/layers|smaller|shorten/i]],
    ["I keep getting a CUDA out of memory crash, help!", [/smaller|context|layers/i]],
    ["What eats up VRAM when the chat gets long?", [/KV cache/i]],
    ["Is there a way to use a model that is larger than my GPU memory?", [/layers|RAM|CPU/i]],
    ["What do I have to type to check whether a model fits?", [/\/fits/]],
    ["How is the /ask command used?", [/\/ask/]],
    ["Who is the king of Sweden?", [/tiny demo|don't know|outside/i]],
    ["Could you bake me a cake recipe with apples?", [/tiny demo|don't know|outside/i]],
    ["What is a flurbenator?", [/tiny demo|don't know|outside|did not understand/i]],
    ["Do quantized networks answer worse than the originals?", [/little|loss/i]],
    ["Give me the biggest model for a 12 gig card", [/12 GB/, /14B/]],
    ["what precision loses almost nothing?", [/Q8_0|INT8|8 bits|FP16/]],
    ["能不能告诉我你是谁呀", [/演示模型/]],
    ["我这张 8G 的卡跑得动 13B 的 Q4_K_M 吗", [/7\.9 GB/, /10\.0 GB/, /不够/]],
    ["Q8_0 和 Q4_K_M 之间怎么选", [/4\.85/, /8\.5/]],
    ["KV 缓存为什么会占那么多显存", [/上下文|词元/]],
    ["请教一下，量化是个什么东西", [/更少的位数|变小/]],
    ["显存太小了有什么办法", [/更小的量化|缩短上下文/]],
    ["给我推荐一家好吃的火锅店", [/不知道|演示模型|小世界/]],
    ["6GB 最多能跑多大的模型呀", [/6 GB/, /7B|8B/]],
    ["NF4 跟普通的 INT4 差别大吗", [/NF4/]],
    ["怎么用 /fits 这个命令呀", [/\/fits/]],
];
export const CHATS = [
    ["Hi!", "My laptop has a GPU with 6 GB", "could it run a 13B model?", "and an 8B?", "which quant would you take for that one", "thank you!"],
    ["What does perplexity tell me?", "why does that matter?", "用中文说", "谢谢"],
    ["你好", "我的显卡是 RTX 3060", "能跑 14B 吗", "那 32B 呢", "KV 缓存是什么", "再见"],
];
