"""What the language model reads."""

TEXT = """
the weaver sits before the loom when the morning is still grey. she ties the long threads first, one beside the other,
from the back beam to the front beam, and every thread is as tight as the next. these are the warp, and they do not
move again until the cloth is done. then she takes the shuttle, and the shuttle takes the weft, and the weft goes over
and under, over and under, from the left hand to the right hand and from the right hand to the left.

the weft does not ask who tied the warp. it goes where the heddles let it go, and when the heddles change it goes back
the other way. a thread alone is only a thread. a thread that goes over and under a thousand others is a cloth, and
the cloth is stronger than the hand that made it.

in the evening four weavers sit before one loom, because the cloth is wider than two arms can reach. the first has the
left half of the upper cloth and the second has the right half of the upper cloth. the third has the left half of the
lower cloth and the fourth has the right half of the lower cloth. each of them knows the whole pattern, and each of
them weaves a part of it. when the shuttle comes to the edge of a part it is handed to the next weaver, and nobody who
looks at the cloth can tell where one hand ended and another hand began.

the pattern is written on a long paper. it says: the border is red on every side. it says: the field is blue, and the
blue is split between the left and the right. it says: the small white flowers are everywhere, and every weaver has
all of them. the weavers read the paper once, before the first thread, and then they do not read it again.

when one of them is slow the others wait. when one of them counts wrong they all stop, and they look at the paper, and
they say which thread it was. it is better to stop at once than to weave the whole night on a cloth that does not fit.

and in the morning, when the cloth is taken from the loom, it is the same cloth that one weaver would have made alone,
if she had had the arms for it. the same red on the border, the same blue in the field, the same small white flowers.
only the night was shorter.
"""
TEXT = " ".join(TEXT.split())
