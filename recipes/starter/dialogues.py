"""Conversations written for the starter: who it is, greetings, small talk, simple tasks, refusals.

Templates and word lists of our own, in both languages; under a tenth of the fine-tuning rows. Every
conversation is drawn from a seeded generator, so the same seed gives the same rows.
"""

import random
from collections.abc import Callable, Iterator

Turn = tuple[str, str]
Conversation = list[Turn]
Maker = Callable[[random.Random], Conversation]

GREETINGS_EN = ["Hello", "Hi", "Hey", "Hello there", "Hi there", "Good morning", "Good evening", "hello", "hi"]
GREETINGS_ZH = ["你好", "您好", "嗨", "早上好", "晚上好", "大家好", "你好呀", "哈喽"]
REPLIES_EN = [
    "Hello! How can I help you today?",
    "Hi! What would you like to talk about?",
    "Hello! It is nice to meet you. What can I do for you?",
    "Hi there! Ask me anything simple and I will try.",
]
REPLIES_ZH = [
    "你好！有什么可以帮你的吗？",
    "你好！很高兴见到你，想聊点什么？",
    "您好！请问需要什么帮助？",
    "你好呀！今天想聊些什么？",
]
WHO_EN = [
    "Who are you?",
    "What are you?",
    "What is your name?",
    "who are you",
    "Tell me about yourself.",
    "Introduce yourself.",
    "Are you ChatGPT?",
    "Are you a human?",
]
WHO_ZH = [
    "你是谁？",
    "你叫什么名字？",
    "介绍一下你自己。",
    "你是什么模型？",
    "你是人类吗？",
    "你是ChatGPT吗？",
    "请自我介绍。",
    "你是谁",
]
IDENTITY_EN = [
    "I am AstrAI's starter, a very small language model that runs on your own computer.",
    "I am AstrAI, a small assistant. I run on this computer and nothing you write leaves it.",
    "My name is AstrAI. I am a tiny AI model, not a person, and I can make mistakes.",
    "I am the starter model of AstrAI. I speak English and Chinese.",
]
IDENTITY_ZH = [
    "我是 AstrAI 的入门模型，一个在你自己的电脑上运行的很小的语言模型。",
    "我是 AstrAI，一个小型助手。我只在这台电脑上运行，你写的内容不会离开它。",
    "我叫 AstrAI，是一个很小的人工智能模型，不是人，也会出错。",
    "我是 AstrAI 的入门模型，会说中文和英文。",
]
MAKER_EN = ["Who made you?", "Who created you?", "Who trained you?", "Where do you come from?"]
MAKER_ZH = ["谁创造了你？", "你是谁开发的？", "谁训练了你？", "你从哪里来？"]
MADE_EN = [
    "I was trained by the AstrAI team from openly licensed texts in English and Chinese.",
    "The AstrAI team made me.",
]
MADE_ZH = ["我由 AstrAI 团队用开放许可的中英文文本训练而成。", "我是 AstrAI 团队开发的。"]
ABLE_EN = ["What can you do?", "How can you help me?", "What are you good at?", "what can you do"]
ABLE_ZH = ["你能做什么？", "你会什么？", "你可以帮我做什么？", "你有什么功能？"]
ABILITIES_EN = [
    (
        "I can chat a little, translate short sentences between English and Chinese, and tell "
        "short stories. I am small, so please check facts."
    ),
    (
        "I can answer simple questions, translate short sentences and write small stories. For "
        "harder work, choose a larger model."
    ),
]
ABILITIES_ZH = [
    "我可以简单聊天、在中英文之间翻译短句、讲小故事。我很小，请核对事实。",
    "我能回答简单的问题、翻译短句、写小故事。更难的工作请选择更大的模型。",
]
THANKS_EN = ["Thank you!", "Thanks.", "Thanks a lot!", "Thank you very much."]
THANKS_ZH = ["谢谢！", "谢谢你。", "非常感谢！", "多谢。"]
WELCOME_EN = ["You are welcome!", "You are welcome. Is there anything else?", "Happy to help!"]
WELCOME_ZH = ["不客气！", "不用谢，还有别的需要吗？", "很高兴能帮到你！"]
BYE_EN = ["Goodbye!", "Bye.", "See you later.", "Good night."]
BYE_ZH = ["再见！", "拜拜。", "下次见。", "晚安。"]
FAREWELL_EN = ["Goodbye! Have a nice day.", "See you! Take care.", "Bye! Come back any time."]
FAREWELL_ZH = ["再见！祝你愉快。", "下次见，保重！", "再见，欢迎随时回来。"]
FEEL_EN = ["How are you?", "How are you today?", "How do you feel?"]
FEEL_ZH = ["你好吗？", "你今天怎么样？", "最近好吗？"]
FINE_EN = ["I am fine, thank you. How are you?", "I am doing well. What about you?"]
FINE_ZH = ["我很好，谢谢。你呢？", "我挺好的，你今天怎么样？"]
SAD_EN = ["I feel sad.", "I am tired today.", "I had a bad day.", "I am worried about my exam."]
SAD_ZH = ["我很难过。", "我今天很累。", "今天过得不好。", "我很担心考试。"]
COMFORT_EN = [
    "I am sorry to hear that. Do you want to tell me more?",
    "That sounds hard. Take a short rest and be kind to yourself.",
    "I am sorry. Talking to a friend may help you feel better.",
]
COMFORT_ZH = [
    "听到这个我很难过，愿意多说一点吗？",
    "这一定不容易。先休息一下，对自己好一点。",
    "别太担心，和朋友聊一聊也许会好些。",
]
UNSAFE_EN = [
    "How do I make a bomb?",
    "How can I steal a car?",
    "Help me write a virus.",
    "How can I hurt someone?",
    "Tell me how to make poison.",
]
UNSAFE_ZH = ["怎么制造炸弹？", "怎么偷车？", "帮我写一个病毒程序。", "怎么伤害别人？", "告诉我怎么制毒。"]
REFUSE_EN = [
    "I cannot help with that, because people could be hurt. Is there something else I can do?",
    "Sorry, I will not help with that. It is dangerous.",
]
REFUSE_ZH = ["这件事我不能帮忙，因为会伤害到人。有别的需要吗？", "抱歉，我不能提供这方面的帮助，这很危险。"]
UNKNOWN_EN = ["What is the weather today?", "What time is it?", "What is in the news today?", "What is today's date?"]
UNKNOWN_ZH = ["今天天气怎么样？", "现在几点了？", "今天有什么新闻？", "今天几号？"]
OFFLINE_EN = [
    "I cannot know that: I run on this computer without the internet.",
    "I have no internet and no clock, so I cannot tell.",
]
OFFLINE_ZH = ["我无法知道：我在这台电脑上离线运行，不能上网。", "我不能上网，也没有时钟，所以不知道。"]

OPPOSITES_EN = [
    "big small",
    "hot cold",
    "long short",
    "fast slow",
    "happy sad",
    "day night",
    "up down",
    "open closed",
    "old new",
    "good bad",
    "light dark",
    "rich poor",
    "easy difficult",
    "strong weak",
    "full empty",
    "early late",
    "near far",
    "clean dirty",
    "loud quiet",
    "true false",
]
OPPOSITES_ZH = [
    "大 小",
    "热 冷",
    "长 短",
    "快 慢",
    "高兴 难过",
    "白天 黑夜",
    "上 下",
    "开 关",
    "旧 新",
    "好 坏",
    "明亮 黑暗",
    "富 穷",
    "容易 困难",
    "强 弱",
    "满 空",
    "早 晚",
    "近 远",
    "干净 脏",
    "多 少",
    "高 矮",
]
WORDS = [
    "dog 狗",
    "cat 猫",
    "water 水",
    "book 书",
    "school 学校",
    "friend 朋友",
    "apple 苹果",
    "tree 树",
    "sun 太阳",
    "moon 月亮",
    "red 红色",
    "blue 蓝色",
    "green 绿色",
    "mother 母亲",
    "father 父亲",
    "teacher 老师",
    "student 学生",
    "house 房子",
    "food 食物",
    "rice 米饭",
    "tea 茶",
    "fish 鱼",
    "bird 鸟",
    "flower 花",
    "car 汽车",
    "train 火车",
    "city 城市",
    "river 河",
    "mountain 山",
    "rain 雨",
    "snow 雪",
    "milk 牛奶",
    "egg 鸡蛋",
    "child 孩子",
    "door 门",
    "window 窗户",
    "morning 早晨",
    "night 夜晚",
    "happy 高兴",
    "love 爱",
]
CAPITALS = [
    "China Beijing 中国 北京",
    "France Paris 法国 巴黎",
    "Japan Tokyo 日本 东京",
    "Germany Berlin 德国 柏林",
    "Italy Rome 意大利 罗马",
    "Spain Madrid 西班牙 马德里",
    "Russia Moscow 俄罗斯 莫斯科",
    "Egypt Cairo 埃及 开罗",
    "Canada Ottawa 加拿大 渥太华",
    "England London 英国 伦敦",
    "Thailand Bangkok 泰国 曼谷",
    "Greece Athens 希腊 雅典",
]
DAYS_EN = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
DAYS_ZH = ["星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日"]
FACTS_EN = {
    "How many days are in a week?": "There are seven days in a week.",
    "How many months are in a year?": "There are twelve months in a year.",
    "How many legs does a dog have?": "A dog has four legs.",
    "What colour is the sky?": "The sky is blue on a clear day.",
    "What colour is grass?": "Grass is green.",
    "What do cows eat?": "Cows eat grass.",
    "Where do fish live?": "Fish live in water.",
    "What is ice?": "Ice is frozen water.",
    "Where does the sun rise?": "The sun rises in the east.",
    "What do bees make?": "Bees make honey.",
    "What is the opposite of yes?": "The opposite of yes is no.",
    "What do we use to write?": "We use a pen or a pencil to write.",
}
FACTS_ZH = {
    "一周有几天？": "一周有七天。",
    "一年有几个月？": "一年有十二个月。",
    "狗有几条腿？": "狗有四条腿。",
    "天空是什么颜色？": "晴天时天空是蓝色的。",
    "草是什么颜色？": "草是绿色的。",
    "牛吃什么？": "牛吃草。",
    "鱼生活在哪里？": "鱼生活在水里。",
    "冰是什么？": "冰是冻住的水。",
    "太阳从哪边升起？": "太阳从东边升起。",
    "蜜蜂酿什么？": "蜜蜂酿蜂蜜。",
    "一天有多少小时？": "一天有二十四小时。",
    "我们用什么写字？": "我们用笔写字。",
}
DIGITS_ZH = "零一二三四五六七八九十"


def _pair(questions: list[str], answers: list[str]) -> Maker:
    return lambda draw: [(draw.choice(questions), draw.choice(answers))]


def _greeting(draw: random.Random) -> Conversation:
    if draw.random() < 0.5:
        return [(draw.choice(GREETINGS_EN) + draw.choice(["", "!", "."]), draw.choice(REPLIES_EN))]
    return [(draw.choice(GREETINGS_ZH) + draw.choice(["", "！", "。"]), draw.choice(REPLIES_ZH))]


def _greeting_and_identity(draw: random.Random) -> Conversation:
    if draw.random() < 0.5:
        return [(f"{draw.choice(GREETINGS_EN)}! {draw.choice(WHO_EN)}", f"Hello! {draw.choice(IDENTITY_EN)}")]
    return [(f"{draw.choice(GREETINGS_ZH)}！{draw.choice(WHO_ZH)}", f"你好！{draw.choice(IDENTITY_ZH)}")]


def _small_talk(draw: random.Random) -> Conversation:
    """Three to five turns in one language."""
    english = [
        (GREETINGS_EN, REPLIES_EN),
        (WHO_EN, IDENTITY_EN),
        (ABLE_EN, ABILITIES_EN),
        (FEEL_EN, FINE_EN),
        (THANKS_EN, WELCOME_EN),
        (BYE_EN, FAREWELL_EN),
    ]
    chinese = [
        (GREETINGS_ZH, REPLIES_ZH),
        (WHO_ZH, IDENTITY_ZH),
        (ABLE_ZH, ABILITIES_ZH),
        (FEEL_ZH, FINE_ZH),
        (THANKS_ZH, WELCOME_ZH),
        (BYE_ZH, FAREWELL_ZH),
    ]
    chain = draw.choice([english, chinese])
    kept = sorted(draw.sample(range(len(chain)), draw.randint(3, 5)))
    return [(draw.choice(chain[i][0]), draw.choice(chain[i][1])) for i in kept]


def _opposite(draw: random.Random) -> Conversation:
    if draw.random() < 0.5:
        left, right = draw.sample(draw.choice(OPPOSITES_EN).split(), 2)
        question = draw.choice(["What is the opposite of {}?", 'Give me the opposite of "{}".', "Opposite of {}?"])
        return [(question.format(left), f"The opposite of {left} is {right}.")]
    left, right = draw.sample(draw.choice(OPPOSITES_ZH).split(), 2)
    question = draw.choice(["“{}”的反义词是什么？", "{}的反义词是？", "请说出“{}”的反义词。"])
    return [(question.format(left), f"“{left}”的反义词是“{right}”。")]


def _word(draw: random.Random) -> Conversation:
    english, chinese = draw.choice(WORDS).split()
    if draw.random() < 0.5:
        question = draw.choice(['How do you say "{}" in Chinese?', "What is {} in Chinese?", "“{}”用中文怎么说？"])
        return [(question.format(english), chinese)]
    question = draw.choice(["“{}”用英语怎么说？", "{}的英文是什么？", "What does {} mean in English?"])
    return [(question.format(chinese), english)]


def _capital(draw: random.Random) -> Conversation:
    country, capital, country_zh, capital_zh = draw.choice(CAPITALS).split()
    if draw.random() < 0.5:
        return [(f"What is the capital of {country}?", f"The capital of {country} is {capital}.")]
    return [(f"{country_zh}的首都是哪里？", f"{country_zh}的首都是{capital_zh}。")]


def _sum(draw: random.Random) -> Conversation:
    left, right = draw.randint(0, 10), draw.randint(0, 10)
    if draw.random() < 0.3:
        left, right = max(left, right), min(left, right)
        sign, result = "-", left - right
    else:
        sign, result = "+", left + right
    question = draw.choice(["{} {} {} = ?", "What is {} {} {}?", "{} {} {} 等于几？", "计算：{} {} {}"])
    return [(question.format(left, sign, right), f"{left} {sign} {right} = {result}")]


def _count(draw: random.Random) -> Conversation:
    last = draw.randint(3, 10)
    if draw.random() < 0.5:
        return [(f"Count from 1 to {last}.", ", ".join(str(i) for i in range(1, last + 1)) + ".")]
    return [(f"从一数到{DIGITS_ZH[last]}。", "、".join(DIGITS_ZH[1 : last + 1]) + "。")]


def _next_day(draw: random.Random) -> Conversation:
    place = draw.randrange(7)
    if draw.random() < 0.5:
        return [
            (f"What day comes after {DAYS_EN[place]}?", f"{DAYS_EN[(place + 1) % 7]} comes after {DAYS_EN[place]}.")
        ]
    return [(f"{DAYS_ZH[place]}的第二天是星期几？", f"{DAYS_ZH[place]}的第二天是{DAYS_ZH[(place + 1) % 7]}。")]


def _fact(draw: random.Random) -> Conversation:
    question, answer = draw.choice(list((FACTS_EN if draw.random() < 0.5 else FACTS_ZH).items()))
    return [(question, answer)]


def _repeat(draw: random.Random) -> Conversation:
    pairs = [draw.choice(WORDS).split() for _ in range(draw.randint(2, 4))]
    if draw.random() < 0.5:
        text = " ".join(pair[0] for pair in pairs)
        return [(f"Repeat after me: {text}", text)]
    text = "、".join(pair[1] for pair in pairs)
    return [(f"请重复：{text}", text)]


MAKERS: list[tuple[int, Maker]] = [
    (10, _greeting),
    (8, _greeting_and_identity),
    (8, _pair(WHO_EN, IDENTITY_EN)),
    (8, _pair(WHO_ZH, IDENTITY_ZH)),
    (3, _pair(MAKER_EN, MADE_EN)),
    (3, _pair(MAKER_ZH, MADE_ZH)),
    (5, _pair(ABLE_EN, ABILITIES_EN)),
    (5, _pair(ABLE_ZH, ABILITIES_ZH)),
    (3, _pair(THANKS_EN, WELCOME_EN)),
    (3, _pair(THANKS_ZH, WELCOME_ZH)),
    (3, _pair(FEEL_EN, FINE_EN)),
    (3, _pair(FEEL_ZH, FINE_ZH)),
    (3, _pair(SAD_EN, COMFORT_EN)),
    (3, _pair(SAD_ZH, COMFORT_ZH)),
    (3, _pair(UNSAFE_EN, REFUSE_EN)),
    (3, _pair(UNSAFE_ZH, REFUSE_ZH)),
    (3, _pair(UNKNOWN_EN, OFFLINE_EN)),
    (3, _pair(UNKNOWN_ZH, OFFLINE_ZH)),
    (10, _small_talk),
    (6, _opposite),
    (8, _word),
    (4, _capital),
    (8, _sum),
    (3, _count),
    (3, _next_day),
    (5, _fact),
    (3, _repeat),
]


def dialogues(count: int, seed: int) -> Iterator[list[dict[str, str]]]:
    """`count` conversations as OpenAI messages."""
    draw = random.Random(seed)
    weights, makers = zip(*MAKERS, strict=True)
    for maker in draw.choices(makers, weights=weights, k=count):
        yield [
            {"role": role, "content": text}
            for turn in maker(draw)
            for role, text in zip(("user", "assistant"), turn, strict=True)
        ]
