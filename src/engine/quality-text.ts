/**
 * The text that perplexity and divergence are measured on: prose of our own, so that no model was trained on it, in
 * English and Chinese. Changing a word changes every figure measured with it: raise `qualityTextVersion` with it.
 */

/** Figures of different versions cannot be compared. */
export const qualityTextVersion = 1;

const english = `
The ferry left the harbour at ten past seven, a little late, because a van full of tomato plants would not start. Two sailors pushed it over the ramp while the driver steered and apologised to everybody he could see. On the upper deck a school class was counting gulls for a mathematics lesson. The teacher had told them to estimate first and count afterwards, and to write down both numbers even if the first turned out to be foolish. One girl estimated forty, counted nineteen, and then explained to her neighbour that the other twenty-one had obviously gone for breakfast. By the time the island came into sight the fog had lifted, and the plants were safely tied to the railing with somebody's scarf.

A good bread needs four things: flour, water, salt and time. Beginners worry about the first three and run out of the last one. Mix five hundred grams of flour with three hundred and fifty grams of water, wait half an hour, and only then add ten grams of salt and a small spoon of yeast. The rest does what kneading would do, since the proteins find each other without help. Fold the dough four times in the first two hours, then leave it in a cool place until morning. If it smells like green apples it is ready; if it smells like glue it has been forgotten. Bake it in a hot pot with the lid on for twenty-five minutes, take the lid off, and stop when the crust is the colour of a chestnut. Let it cool completely before you cut it. Nobody ever obeys that last sentence.

When a program is slow, most people begin by guessing. They replace a loop they do not like, feel better, and measure nothing. A more useful habit is to ask where the time goes before changing a single line. Run the program on an input of realistic size, write down how long it took, and repeat it three times, because a computer is a busy place and a single measurement is an anecdote. Then look for the part that takes more than half of the total. If there is no such part, the program is not slow for one reason, and no single repair will make it fast. If there is one, understand why it takes so long: perhaps it reads the same file a thousand times, perhaps it waits for a network, perhaps it sorts a list that was sorted before. Only then decide what to change, change that one thing, and measure again with the same input. Keep the change if the numbers improved by more than the noise; otherwise take it out, however clever it was.

The museum keeps its oldest map in a drawer that is opened twice a year. It shows a coast that no longer exists, since the river has moved its mouth eleven kilometres to the south in the four centuries between. What looks like a mistake in the upper corner, a lake with an island shaped like a boot, was confirmed by divers in 1987: they found the foundations of a chapel under six metres of mud. The mapmaker never signed his work. We know only that he measured distances in days of walking, that he was generous with forests, and that he drew a small dog beside every village where, presumably, one had barked at him.

My grandmother repaired radios. She had learned it during a winter when there was nothing else to do, from a manual whose last forty pages were missing, and so for her whole life she could find any fault but explained it in a vocabulary that ended at the letter R. Customers brought her sets wrapped in blankets, as if they were ill. She would listen first, with her head on one side, then switch the thing off and tell them what had failed and what it would cost. She was wrong only once, about a set in which a mouse had built its nest, and she mentioned this for years as proof that one should always look inside. When transistors came she bought a magnifying glass and began again from the first page.

Consider a bucket with a small hole in it. Water runs in from a tap at a constant rate and out through the hole at a rate that grows with the height of the water. At first the level rises quickly, then more and more slowly, and at some height the two rates are equal and nothing seems to happen any more. It is tempting to say that the system is at rest, but every second as much water moves through it as before. Many things that look calm are buckets of this kind: the temperature of a heated room, the number of people in a shop at noon, the weight of a healthy adult. If you want to change the level you can open the tap, close the hole, or wait for the drought; if you only stir the water you will be busy and nothing will change.

The committee met on Thursday to decide about the trees in Mill Street. There were nine of them, all plane trees, planted in 1931, and their roots had begun to lift the pavement in front of the pharmacy. Mrs Okafor, who uses a wheelchair, said that she liked the trees and could not get past them. The engineer presented three possibilities: fell them, narrow the road and move the pavement, or build a ramp of wooden boards over the roots and look at it again in ten years. The first was cheap and disliked by all, the second was expensive and disliked by the drivers, the third was called provisional by those who were against it and elegant by those who were for it. After two hours and a break for tea the ramp won by seven votes to four. The boards were laid in October. By spring somebody had painted a line of yellow footprints on them, and the pharmacist pretended not to know who.

To find north without a compass, push a straight stick upright into level ground on a sunny morning and mark the tip of its shadow with a stone. Wait a quarter of an hour and mark the tip again. The line from the first stone to the second points roughly east, because the sun moves west and the shadow goes the other way. The longer you wait, the better the line. At night look for the seven bright stars that some call a plough and others a pan; follow the two at the end of the pan upwards, five times their distance, and you will find a star that is not especially bright but does not move. Below it, on the horizon, is north. South of the equator none of this works as written, which is a good reminder that most instructions carry a place in them that nobody mentions.

Prices in the valley are fixed by the weather, though everyone pretends otherwise. In a dry year hay is dear by August and cattle are cheap by October, because those who cannot feed them must sell. Old Benedek, who had seen sixty such years, bought neither hay nor cattle. He bought barrels. When the rain came at last the plums were small but there were many of them, and everybody discovered in the same week that they had nowhere to put the brandy. He sold his barrels at three times what he had paid, apologised to each buyer, and lent his own brother two for nothing. Asked how he had known, he said that he had not known anything; he had only noticed that barrels do not eat.

A letter arrived for the previous tenant, then another, then a parcel that ticked. We put it on the balcony and telephoned the police, who sent a young officer with a long pole. It was a metronome, wound up and wrapped in sheet music, with a note that said: you left this, and it would not stop asking for you. The officer tapped along for a moment, said that it was a little fast for a waltz, and wrote a report of which we were given a copy. The previous tenant never came for it. It stands on the piano now, between a lamp and a photograph of a ferry, and on quiet evenings one of us winds it up so that the room has something to say.
`;

const chinese = `
清晨六点，菜市场的灯已经亮了。卖豆腐的老陈把木板擦得干干净净，豆腐切成四方块，冒着热气。他说做豆腐最要紧的是水，水硬了，豆腐就粗；水软了，豆腐就嫩。来买的大多是熟客，不用开口，他就知道谁家要两块，谁家要三块。有一位年轻的姑娘第一次来，问他哪一种适合煎，他想了想，说老豆腐适合煎，嫩豆腐适合汤，如果拿不定主意，就各买一块，回去试一试，明天再来告诉他。姑娘笑着照办了。

修桥的时候，工程师把图纸贴在墙上，让所有工人都能看见。有人问，桥为什么要留一道缝？他回答说，夏天的钢会变长，冬天的钢会变短，如果不给它留一点地方，它就会自己找地方。后来村里的老人常用这句话来说人：家里人住在一起，也要留一道缝，不然到了热天就要挤出毛病来。桥已经用了三十年，那道缝每年春天清理一次，里面的沙子装起来有小半桶。

学习一门语言，开始的时候总觉得自己什么都记不住。今天背了二十个词，明天忘了十五个，剩下的五个还常常用错。其实忘记并不是失败，忘记之后再想起来，才是真正的学习。有经验的老师不会让学生一次背很多，而是让他们隔一天、隔三天、隔一个星期再看一遍。第一次用十分钟，第二次用五分钟，第三次只要一分钟。加在一起的时间并不长，效果却好得多。如果能把新学的词马上用在一句真话里，比如今天中午吃了什么，下雨的时候有没有带伞，那就更不容易忘了。

这条河从前可以行船。我祖父年轻时在船上做饭，从上游到下游要走九天，回来要走十四天。他说最难的不是急流，而是浅滩：水太急的地方，大家都小心，反而不出事；水太浅的地方，看上去平平静静，船底却一下子就搁住了。船搁住以后，全船的人都要下水去推，连账房先生也不例外。有一年秋天水特别少，他们推了整整一个下午，天黑时才看见码头的灯。祖父说，那天晚上的一锅白菜汤，是他这辈子做得最好的一次，因为每个人都喝了三碗，没有一个人嫌淡。

图书馆的规定写在门口：可以安静地读，可以小声地问，不可以大声地知道。最后一句是前任馆长加上去的，据说是因为有两位教授在阅览室里争论一颗星星的名字，争了一个多小时，谁也不肯去查。新馆长来了以后，本想把这句话去掉，可是读者们不同意，说这是全城最有用的一条规定。于是它一直留到今天，只是字旧了，每隔几年要重新描一遍。描字的人是个退休的邮递员，他写得很慢，描完以后总要退后三步看一看，然后点点头，再去还他借的书。

要估计一棵树有多高，不必爬上去。找一根和自己手臂一样长的小棍，竖直握在手里，手臂伸平，然后慢慢向后退，直到小棍的上下两端正好对着树顶和树根。这时候你离树的距离，就差不多等于树的高度。道理很简单：你的手臂、小棍和眼睛组成一个小三角形，你、树和地面组成一个大三角形，两个三角形的形状相同，所以边长的比例也相同。地面不平的时候会有误差，手抖的时候也会有误差，不过对于想知道树倒下来会不会碰到屋顶的人来说，这个办法已经够用了。

邻居家的孩子养了一缸蝌蚪，每天放学都要数一遍。起初有三十七只，后来是三十五只，再后来他数到四十一只，自己也糊涂了。他父亲建议他用杯子一杯一杯地舀出来数，他不肯，说那样会吓着它们。过了两个星期，有些蝌蚪长出了后腿，有些还没有，他就改成数腿：先数腿，再除以二，再加上没有腿的。算出来是三十六只。他把这个数字写在墙上，旁边注明日期，又画了一只戴眼镜的青蛙，表示这一次是认真算过的。

冬天修理钟表的铺子生意最好，因为天冷油稠，走慢的钟就多起来。师傅姓顾，说话和他的钟一样慢。有人急着要取，他就把钟翻过来，让人家看里面的齿轮：这一个每小时转一圈，那一个每天只转半圈，可是少了哪一个都不行。他收费也很特别，修好了按零件算，修不好就请人家喝一杯茶。去年他修过一座没有指针的钟，主人说不必配指针，只要它能响就行，因为家里的老人看不见，只听得见。顾师傅修了四天，一分钱也没有收，只问能不能每年冬天去听一次。
`;

/** By language, each without a final line break. */
export const QUALITY_TEXTS: readonly { id: "en" | "zh"; text: string }[] = [
  { id: "en", text: english.trim() },
  { id: "zh", text: chinese.trim() },
];

/** Natural text to fill a context with where only its length matters. */
export function fillerText(): string {
  return QUALITY_TEXTS.map(({ text }) => text).join("\n\n");
}
