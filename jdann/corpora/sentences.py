"""350 everyday sentences, each in English and in Mandarin, that suggest no emotion.

The first ten are written one by one; the others combine a subject, a time and an activity.
"""

_WRITTEN = (
    ("The train to the city leaves at half past nine.", "去市里的火车九点半开。"),
    ("She put the keys on the table by the window.", "她把钥匙放在窗边的桌子上。"),
    ("We are going to the library after lunch.", "我们午饭后去图书馆。"),
    ("The meeting has been moved to Thursday.", "会议改到星期四了。"),
    ("He bought two tickets for the evening show.", "他买了两张晚场的票。"),
    ("There is a new bakery at the corner of the street.", "街角有一家新的面包店。"),
    ("They will paint the kitchen next week.", "他们下个星期要粉刷厨房。"),
    ("My brother works in the office upstairs.", "我哥哥在楼上的办公室上班。"),
    ("Please close the door when you leave.", "你走的时候请把门关上。"),
    ("It will rain in the afternoon.", "今天下午会下雨。"),
)

_SUBJECTS = (
    ("My sister", "我妹妹"),
    ("The teacher", "老师"),
    ("Our neighbour", "我们的邻居"),
    ("His uncle", "他叔叔"),
    ("My friend", "我朋友"),
)

_TIMES = (
    ("tomorrow morning", "明天早上"),
    ("on Saturday", "星期六"),
    ("this evening", "今天晚上"),
    ("next week", "下个星期"),
)

_ACTIVITIES = (
    ("buy some fruit at the market", "去市场买水果"),
    ("return three books to the library", "去图书馆还三本书"),
    ("take the bus to the station", "坐公共汽车去车站"),
    ("wash the car in the yard", "在院子里洗车"),
    ("cook noodles for the children", "给孩子们煮面条"),
    ("read the newspaper in the garden", "在花园里看报纸"),
    ("repair the bicycle in the garage", "在车库里修自行车"),
    ("send a parcel at the post office", "去邮局寄包裹"),
    ("drink tea with a colleague", "和同事一起喝茶"),
    ("write a letter to the bank", "给银行写一封信"),
    ("visit the museum near the river", "参观河边的博物馆"),
    ("clean the windows on the second floor", "擦二楼的窗户"),
    ("play chess with the students", "和学生们下棋"),
    ("practise the piano at the school", "在学校练钢琴"),
    ("water the flowers on the balcony", "给阳台上的花浇水"),
    ("pick up the photographs at the shop", "去店里取照片"),
    ("take a walk in the park by the lake", "去湖边的公园散步"),
)


def _combined(index: int) -> tuple[str, str]:
    """Sentence 0 to 339 in English and in Mandarin."""
    # The lengths 5, 4 and 17 are pairwise coprime. So the 340 indices give each combination once,
    # and two consecutive sentences differ in all three parts.
    subject, time, activity = (
        table[index % len(table)] for table in (_SUBJECTS, _TIMES, _ACTIVITIES)
    )
    return f"{subject[0]} will {activity[0]} {time[0]}.", f"{subject[1]}{time[1]}要{activity[1]}。"


SENTENCES: tuple[tuple[str, str], ...] = _WRITTEN + tuple(
    _combined(index) for index in range(len(_SUBJECTS) * len(_TIMES) * len(_ACTIVITIES))
)
"""350 pairs (English, Mandarin)."""
