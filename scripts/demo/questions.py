"""The demo exam: find-the-rule questions in C-Eval's layout, made from a seed.

Every question offers four words of four different kinds (an animal, a fruit, the weather, a flower) and asks for the
one that goes with the answers of the examples. Which kind that is stands nowhere in the question: only the answers of
the examples before it tell. So whoever cannot read the examples, their answers, or their order is left with one guess
in four, which is what makes the score of a demo model worth looking at.

The words and the questions were written for this project.

    python scripts/demo/questions.py            # writes tasks/demo_5shot/{dev,test}/*.csv again, byte for byte
"""

from __future__ import annotations

import argparse
import csv
import random
from dataclasses import dataclass, replace
from pathlib import Path

SEED = 20260
DEV_ROWS = 5
TEST_ROWS = 60  # a subject; four subjects make 240 questions
LETTERS = "ABCD"

INSTRUCTION = "以下是中国关于{name}考试的单项选择题，请选出其中的正确答案。\n"
STEMS = (
    "下列哪一项与例题的答案同类？",
    "与例题的答案属于同一类的是哪一项？",
    "按照例题的规律，应当选哪一项？",
)
TOLD_STEM = "下列哪一项是{kind}？"  # for practice only: the exam never tells the kind


@dataclass(frozen=True)
class Subject:
    """One exam: its Chinese name and its four kinds of words, as many words in each."""

    name: str
    kinds: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Question:
    """One row of an exam: the stem, four options in the order A to D, and the letter of the right one."""

    stem: str
    options: tuple[str, ...]
    answer: str


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


SUBJECTS = {
    "nature": Subject(
        "自然常识",
        {
            "动物": _words("老虎 兔子 大象 狐狸 山羊 松鼠 猴子 骆驼"),
            "水果": _words("苹果 香蕉 葡萄 西瓜 桃子 橙子 草莓 石榴"),
            "天气": _words("晴天 小雨 大风 雷电 大雪 浓雾 冰雹 多云"),
            "花草": _words("牡丹 荷花 菊花 梅花 兰花 玫瑰 茉莉 水仙"),
        },
    ),
    "geography": Subject(
        "地理常识",
        {
            "国家": _words("法国 德国 日本 印度 埃及 巴西 泰国 希腊"),
            "城市": _words("北京 上海 广州 成都 武汉 西安 南京 杭州"),
            "河流": _words("长江 黄河 珠江 淮河 汉江 湘江 辽河 渭河"),
            "山岳": _words("泰山 华山 衡山 恒山 嵩山 黄山 庐山 峨眉山"),
        },
    ),
    "daily_life": Subject(
        "生活常识",
        {
            "衣物": _words("衬衫 裤子 裙子 毛衣 外套 帽子 袜子 手套"),
            "家具": _words("桌子 椅子 沙发 衣柜 书架 茶几 板凳 木床"),
            "车船": _words("汽车 火车 飞机 轮船 地铁 电车 卡车 帆船"),
            "饭菜": _words("米饭 面条 饺子 馒头 豆腐 包子 春卷 汤圆"),
        },
    ),
    "language": Subject(
        "语文常识",
        {
            "颜色": _words("红色 黄色 蓝色 绿色 白色 黑色 紫色 灰色"),
            "亲属": _words("爸爸 妈妈 哥哥 姐姐 弟弟 妹妹 爷爷 奶奶"),
            "动作": _words("跑步 跳高 唱歌 写字 读书 睡觉 游泳 爬山"),
            "方位": _words("东方 西方 南方 北方 上面 下面 左边 右边"),
        },
    ),
}


def make_question(rng: random.Random, subject: Subject, kind: str, letter: str | None = None) -> Question:
    """Draw one question of which the option of `kind` is the right one.

    Args:
        rng: the source of every choice made here.
        subject: the exam the words come from.
        kind: the kind of the right option, a key of `subject.kinds`.
        letter: where the right option stands; drawn when absent.
    """
    letter = letter or rng.choice(LETTERS)
    others = [other for other in subject.kinds if other != kind]
    rng.shuffle(others)
    others.insert(LETTERS.index(letter), kind)
    return Question(rng.choice(STEMS), tuple(rng.choice(subject.kinds[other]) for other in others), letter)


def told(question: Question, kind: str) -> Question:
    """Ask the same question outright, naming the kind that is looked for; no example is needed then."""
    return replace(question, stem=TOLD_STEM.format(kind=kind))


def render(question: Question, with_answer: bool) -> str:
    """Write a question as C-Eval's prompt has it; nothing follows `答案：` but the answer itself."""
    lines = [question.stem, *(f"{letter}. {option}" for letter, option in zip(LETTERS, question.options, strict=True))]
    return "\n".join(lines) + "\n答案：" + (question.answer if with_answer else "")


def prompt(subject: Subject, shots: list[Question], question: Question) -> str:
    """Write the whole prompt: instruction, a blank line, the answered shots, the question without its answer."""
    examples = [render(shot, with_answer=True) for shot in shots] + [render(question, with_answer=False)]
    return INSTRUCTION.format(name=subject.name) + "".join("\n" + example for example in examples)


def make_exam(seed: int = SEED) -> dict[str, dict[str, list[Question]]]:
    """Make the exam: for every subject the `dev` rows (the shots) and the `test` rows, no two with the same four words.

    The rule of a subject (the kind that is right) is drawn once, as the shots of a subject are the same for all its
    questions. Each letter is the answer of a quarter of the test rows.
    """
    exam = {}
    for key, subject in SUBJECTS.items():
        rng = random.Random(f"{seed}/{key}")  # noqa: S311 - reproducible questions, no secrets
        kind = rng.choice(sorted(subject.kinds))
        letters = [LETTERS[row % 4] for row in range(TEST_ROWS)]
        rng.shuffle(letters)
        seen: set[frozenset[str]] = set()
        rows: list[Question] = []
        for letter in [rng.choice(LETTERS) for _ in range(DEV_ROWS)] + letters:
            question = make_question(rng, subject, kind, letter)
            while frozenset(question.options) in seen:
                question = make_question(rng, subject, kind, letter)
            seen.add(frozenset(question.options))
            rows.append(question)
        exam[key] = {"dev": rows[:DEV_ROWS], "test": rows[DEV_ROWS:]}
    return exam


def write_exam(folder: Path, seed: int = SEED) -> None:
    """Write the exam as `{dev,test}/<subject>_<split>.csv`, the layout of the official C-Eval files."""
    for key, splits in make_exam(seed).items():
        for split, rows in splits.items():
            path = folder / split / f"{key}_{split}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(["id", "question", *LETTERS, "answer", *(["explanation"] if split == "dev" else [])])
                for row, question in enumerate(rows):
                    explanation = [""] if split == "dev" else []
                    writer.writerow([row, question.stem, *question.options, question.answer, *explanation])


def main() -> None:
    """Write the CSV files into the task's folder, or into another one."""
    parser = argparse.ArgumentParser(description="Write the demo exam's CSV files again from their seed.")
    tree = Path(__file__).resolve().parents[2] / "tasks" / "demo_5shot"
    parser.add_argument("--folder", type=Path, default=tree, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=SEED, help="default: %(default)s")
    arguments = parser.parse_args()
    write_exam(arguments.folder, arguments.seed)


if __name__ == "__main__":
    main()
