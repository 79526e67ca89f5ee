"""Lower case, white space and scripts by one pinned version of Unicode, and the kernel that applies them to UTF-8.

Texts flow in, folded texts flow out: lower case as ``str.lower`` makes it, with the two cases that are not one code
point for one (``İ`` becomes ``i`` and U+0307; a capital sigma that ends a word becomes ``ς``), and every white space of
``str.split`` as one space. The version is that of the oldest supported Python, so no interpreter knows less; a newer
one folds letters that were added since, and this module does not. Normal forms (NFC, NFKC) are not made here: the
option ``unicode`` of the normalise stage, or Arrow's ``utf8_normalize``, comes before.
"""

from __future__ import annotations

import base64
import zlib
from functools import cache

import numpy as np
import numpy.typing as npt

from curator.kernels.compile import kernel
from curator.kernels.json_strings import store_utf8
from curator.kernels.vector import (
    address_of,
    between_mask,
    changing_lead_mask,
    copy_folded_block,
    count_bits,
    high_mask,
    lead_mask,
    load_byte,
    lowest_bit,
    read_only,
    store_byte,
)

WHITE_SPACE, PUNCTUATION, CASED, CASE_IGNORABLE, LETTER, SPACELESS = 1, 2, 4, 8, 16, 32
"""Flags of a code point. Punctuation: category P and what ASCII calls so. ``SPACELESS``: letters of Han, Hiragana,
Katakana, Thai, Lao, Khmer and Myanmar, which are written without spaces between words."""

LOWER, ONE_SPACE, NO_PUNCTUATION, COUNT_LETTERS = 1, 2, 4, 8
"""Bits of ``options``: fold case; white space becomes the space; punctuation becomes the space; count letters."""

SLACK = 192
"""Bytes that a folded text needs in the output beyond one and a half times its length."""

_FLAG_BITS, _BLOCK_BITS = 8, 7
_BLOCK = 1 << _BLOCK_BITS
_INDEX = 1 << (21 - _BLOCK_BITS)  # four bytes of UTF-8 can spell 21 bits, though Unicode ends at 0x10ffff
_I_WITH_DOT, _SMALL_I, _DOT_ABOVE = 0x130, 0x69, 0x307
_CAPITAL_SIGMA, _SIGMA, _FINAL_SIGMA = 0x3A3, 0x3C3, 0x3C2

# Runs of code points with equal properties: lengths, then (distance to the lower case << 8 | flags), both little-endian
# int32 with their first, second, third and fourth bytes apart, deflated. A test makes it again from ``unicodedata``.
RUNS = (
    b"c-rk7TWlOx^`3L@%-osX^<LW>@5GMnjpMkEoiv*^Nu3XfqpFRfq9j6qXauOJ@Ixykq*i<&Ri%9NqkJHNgoKc&0P(>Wd{8K~0;D1;5KyRM@sKEuko"
    b"W+hA|bU!h~=C!Gdr`6o!EJ}c5=_zojdn+?s=cPkrM|)K?os00^zs@fN>MTI6wdenBql48=@2}Y!0+Man&foHGnR6<66U2(%A24vmQO%z{sW{T8q$"
    b"qFfn54Ljg~IwmghDH<$^4Fbwg&b+udA1GVdPH_XL#0>aIPIV8yrV0fr7s+}-ou3D(6hc!}72a;V0Dd}OFgAkDvmeAx7@1B~#2Wyb-jaielVaz~GZ"
    b"vi%8H?4tMkdkX-Xb->%I4-VY4K0ik!~~#8T|^vXWofa4A@w(i7}j~7IKa?k3z#`MocdZrL`)7N*^Maik=c@fX#{|LMia5l97B0Xwtz#*LWBXI(*Q"
    b"^PkSH2vn9NJmbv=YStv*bIt%RKu!n7#jP0ZIQdkW^$NlrLq(RsQ-D105jOsGIxjbqHrh)zjKfDs8n{7*u?OC8DqmSowF;%X^yJ|F_fZWj)j4(KNB"
    b"#fgl4v@mOiXdwnQn2jM04DMefu|sAJl923VG_8-cY0wazI|Mk#q;ZkxoFNjC5IR8Lz5QO3%w+Ih)N$Ln^C5-^kCL8Y9Q6ZQ+h{~5qa<EDg7pSlyn"
    b"d8yX#s0mLTIKIxP5Re3UG#wx<8p_tHz{Vi^&wRdeDp?ZzJpHSP>y;!vvudk!MXGF{E)0G~&`Wq9l&l=u^ZID?K^L)*<E-Gi%ABI%w!*D#SQiL~X5"
    b"x20KM4juIR^*?^h-%dj0GzWFCuHk~Dqwivc{NCvG9#7#(-nq!5G#9a;((zBL1q}U~^u{Hx}k#6f`6$;53a(p)K-aAZniDOig=T_1whn@)n1H;adu"
    b"|8)e@tN`QCx*`9bn?Zqlcs~%?OvYSP%_KS2MqIiMI7ewuoQ7{wBrZ{v2z$YSpRxf+!CyF4h%RP^#_o1)dfy;i|~=*PS>fQEUR7c>3iox$~oF4*xD"
    b"pthIM;I#_|4y@@PB8wF~k!f?c=bTpQ)`)&gl(R3oBffTBKt(W550%b`U#5^A1H_E>D!8Zb$Ico-zJH^>;A^x}ldQpkQ8a}I7A2cfWpUCx6j`8Fl*"
    b"tmW=XNsoLz6f-V@q10*4@5B6}GV;xO+Z-{U#81pcbv9x`9v$Q*@6loR2)boFK3_NFvtj6F_@KJnyvUj1X}KX}C64W+F}tWqnNQ#lPHQ<EbqKq(sn"
    b"g7;6riD*&jk8E@YJL}(uC<wqXjmc3xX-2>}}!j{QTLGSu<<q?a><4s2XyG%G-PIiN_L~hOhwfeUygbASXX;lgZlg^eLjBjKwe>!17Xv%gkCpbz8$"
    b"E(rwGd(Imp;J_~y&J;uj%G?t7uMk4d@nS1VT+})TpA6$@fdUi4aJ61En*oZN6yC&Ks-LYmg!<Clwen>KdI4ACI>)8NojZ3TDM-TGEu8z_0bwRvWc"
    b"Sfk{a}}j1J0%5$WT9&<l~KD3t5sO^-h_H!A{{()jHdV^79^6Brn;m@zLs%D_`zXqNPKJ?oaxd!sR0v>(Zzl+-#<Y$+dx33i=IEI$?)*8PG_2yQsz"
    b"TQYlTbe2QA*g63KOR4<z%U+ywYmqwj1m;h=FQieW!7$)tk?oWe1byT=)R&Sh>(qNQACIw6Wno*pI1z7J>ND=R_mrT2Uk8;2qO`RV6RMAJ<?H%yfe"
    b"l5WKInc5YMey7uEn~y(0OuXAPmYKPUx9rM7{5O-`awg3oJ#6gf%_CIc;)w5B=0kU4yQ5==(Ukd;{?Ys4G)NgGQR-4jPsyDiBB>1fwT|F@xEprE^s"
    b"28tdXKrw@?{`s2GBg8K<o90E>dEZi-&X+IXE>1!w1b95y&kHepZVP%*;eEg3lV5;1G}~Fxh>_6xjj?GCKEI9s`+o4Ab2yfZ@l+L&8r5>MxxW(Vy|"
    b"Dp(E2%mmYWyrXG6o4W~SK@Ze!90XDuAy|z4Dm!m=9M6d%LYGaXtyVZM@GMfx74_gL{{MZXOARlhS6us@J-zKH;vMrh)iIPmv#J#xDg4*T{GlSG1t"
    b"}GZC*az1k$KdH^{hez}nd??A=Fj@K6#wuUQ<HTJM*ktB|MR}*!Gi}69z1yP;K753+X#~Nej$4B;K73j4<0;t@ZiD2Ef1go6GD|>i(gtOLkg{;SIb"
    b"D_(!rK$@n=VYlg~C_Beex`pPwpikxFeVA*HffucF$`XkOVJVH}b>6_>M^qjJh&LS9GiCZjHO)N$6)SCR6Rb+U$9Lglz?Q-!JGPNrbm>f|BQyd~vH"
    b"m34T~5_u-<Dwr>oU2=r19bD4KY=cF$7L9B$XJefOwm8Q+bvb79ww$!CdU8P<*E`wu7Y+(#FB1k;*LJPyF0o2fw?rD{c8S(>X|>oRLoBvq!Bw_3pY"
    b"AH8_iVS&mNBbZ8DiR6OX30P`2_I}5)d7bwH@Xn<dSC`bPJA_SPaft<St_0L3?3IT)I_D%0P;_XY`ebvdtDmTsfET7Mdw$GO;c)j}%L^QbyalZ9(P"
    b"PN>#9u!lbo?N?O&=ST<j16<8@t30N*h3W0SlagHi2y{SrGNuJI7#;^zRR(it<uETM<MS2l|g|UoJr`Y$_ih-25CE?Q|_(=BDNuVutv5QOHe5nMQI"
    b"DU%!k>J@>apFXKMFpf*qSD@2pH447CNJ67uHL@q5phSUrU*(7Wt3=Ub)%FMlH29++)rfWUtQ8K=RDi57BnV9lyP!`S&B(zFDZQ>v9>G+ziJhE!dC"
    b"1gCLc6+&RAyjgi}ePxXsYzJj;k&)5vqUQnqBC_*z<BHmX>hZY!rr+2BBMxd*z!8B5Gor-Fm@D)0TSElX9A8nLWXMVXSUF7g*SzEaByNu{P{7Rzf)"
    b"UWaXwx}Df9pXdMgC5^)}<6}h&*tg^ADm+kU*(X?^wo*16mK2>WUsa!`&0VUjF;X5|t-&(uN_k7d+3f}Mi-{1%YGr1A1}+Qbp>|+hMa!5=+!q&%qv"
    b"@Mw<R$rJDj?%xS}a`>?7FP{R}+z4RV`cBfn`M&O0G3<r?P3k%2yRgDKj1LylX`xXsg$p{=KCNovZz7>c|p!2k_~v`5ixg4eD2*&i&$-)c!`j`dd)"
    b"1UQ{dDf<MwHYyQC9KSB0);*fu?j<V=$FK?8uC)OBS1oh#0YTtF=>2h$@k55(nJ>+9b&8hurS)CN^+I3HQiFdqBC!X(YfUj${Qgds~N^a=kc7cZkH"
    b"w>@X9U|8<;ky6Iv<>mpO+Vo+m3^{SUNTf=``nwEj=nAJTVLhJ7v7ekC!czAa~AjpeNX+69(&3$*Z*7f@xjGi8jr_!=dAu!zkVr8ML*q=gqJ_I;NL"
    b"el!_`&y+#H|IsQq_v;P>mF@xph%_v07TKUe<#?CP0UUVOQt*=m8k6`^xOsLbbIfje@%`N{G&fR1PGhQf@$JoTZswWsy2hpz=1Ubx{r_wq;2JA;QE"
    b"33~)L3}4<Ua{ZfdC&8ty$ky`7(^apJs%(oKo3*{_Sg+UHyhN|PwuucZ|60l4F0Nd>n7{c5eP`hD!S03iS6*P?r@qYNE<ElP>A`~s|4V4w{1U4CZ1"
    b"KN@Jb1X}b5n1J@q4TN66$R#XAhjvD;e>gye<5(cSW<2wbpWvO}mT-4<0;}@PCd=)nx"
)


@cache
def properties() -> npt.NDArray[np.int32]:
    """Unpack the table of properties.

    Returns:
        int32, read-only; of code point ``c`` the entry ``table[table[c >> 7] + (c & 127)]``, which is the distance to
        the lower case times 256, plus the flags.

    Example:
        >>> table = properties()
        >>> entry = int(table[table[ord("A") >> 7] + (ord("A") & 127)])
        >>> entry >> 8, entry & 255 == CASED | LETTER
        (32, True)
    """
    planes = np.frombuffer(zlib.decompress(base64.b85decode(RUNS)), np.uint8).reshape(2, 4, -1)
    lengths, values = np.ascontiguousarray(planes.transpose(0, 2, 1)).view("<i4")[..., 0].astype(np.int32)
    by_point = np.zeros(_INDEX * _BLOCK, np.int32)
    by_point[: lengths.sum()] = np.repeat(values, lengths)
    places: dict[bytes, int] = {}  # a sort of the blocks would take a second
    index = [
        places.setdefault(block.tobytes(), _INDEX + len(places) * _BLOCK) for block in by_point.reshape(-1, _BLOCK)
    ]
    packed = np.array(index, "<i4").tobytes() + b"".join(places)
    table: npt.NDArray[np.int32] = read_only(np.frombuffer(packed, "<i4"), np.int32)  # type: ignore[assignment]
    return table


def fold_text(text: str, options: int = LOWER | ONE_SPACE) -> str:
    r"""Fold one text: the kernel behind the shingles, for tests and for looking things up.

    Args:
        text: no lone surrogates.
        options: a sum of ``LOWER``, ``ONE_SPACE``, ``NO_PUNCTUATION``, ``COUNT_LETTERS``.

    Raises:
        UnicodeEncodeError: half a surrogate pair.

    Example:
        >>> fold_text("ΟΔΟΣ\u3000İT")
        'οδος i̇t'
    """
    encoded = text.encode()
    source = np.zeros(len(encoded) + SLACK, np.uint8)
    source[: len(encoded)] = np.frombuffer(encoded, np.uint8)
    target = np.empty(len(encoded) * 3 // 2 + SLACK, np.uint8)
    written, _, _ = _fold_one(source, len(encoded), target, properties(), int(options))
    return target[:written].tobytes().decode()


@kernel
def _fold_one(
    source: npt.NDArray[np.uint8],
    length: int,
    target: npt.NDArray[np.uint8],
    table: npt.NDArray[np.int32],
    options: int,
) -> tuple[int, int, int]:
    return fold(address_of(source), int(np.int64(0)), length, address_of(target), table, options)


@kernel
def fold(
    base: int, begin: int, end: int, target: int, table: npt.NDArray[np.int32], options: int
) -> tuple[int, int, int]:
    """Fold one text; invalid UTF-8 gives something, inside the bounds, that means nothing.

    Args:
        base: address of a padded buffer.
        begin: first byte of the text.
        end: one past its last byte.
        target: address of the output, ``(end - begin) * 3 // 2 + SLACK`` bytes.
        table: as ``properties`` returns it.
        options: a sum of ``LOWER``, ``ONE_SPACE``, ``NO_PUNCTUATION``, ``COUNT_LETTERS``.

    Returns:
        The number of bytes written; with ``COUNT_LETTERS`` the number of letters, and of those ``SPACELESS`` ones.
    """
    lower, one_space = options & LOWER, (options & ONE_SPACE) >> 1
    to_space = (WHITE_SPACE if options & ONE_SPACE else 0) | (PUNCTUATION if options & NO_PUNCTUATION else 0)
    position, written, letters, spaceless = begin, 0, 0, 0
    while position < end:
        copy_folded_block(base, position, target, written, lower, one_space)
        taken = min(end - position, 64)
        high = high_mask(base, position)
        leads = high
        if high:
            leads = changing_lead_mask(base, position) if options <= LOWER | ONE_SPACE else lead_mask(base, position)
        if taken < 64:
            leads &= (1 << taken) - 1
        consumed, produced = taken, taken
        # What is not ASCII was copied as it is: only the few code points that become others are written again.
        while leads:
            offset = lowest_bit(leads)
            leads &= leads - 1
            point, length = decode(base, position + offset)
            if offset and offset + length > 64:
                consumed, produced = offset, offset
                break
            entry = int(table[np.int64(table[point >> _BLOCK_BITS]) + (point & (_BLOCK - 1))])
            letters += (entry & LETTER) >> 4
            spaceless += (entry & SPACELESS) >> 5
            if entry & to_space:
                store_byte(target, written + offset, 0x20)
                consumed, produced = offset + length, offset + 1
                break
            if lower and (entry >> _FLAG_BITS or point == _I_WITH_DOT):
                after = _store_lower(base, begin, position + offset, end, target, written + offset, table, point, entry)
                if after != written + offset + length:
                    consumed, produced = offset + length, after - written
                    break
        if options > LOWER | ONE_SPACE:
            inside = ~high if consumed >= 64 else ~high & ((1 << consumed) - 1)
            if options & COUNT_LETTERS:
                capitals = between_mask(base, position, 0x41, 0x5A)
                letters += count_bits((capitals | between_mask(base, position, 0x61, 0x7A)) & inside)
            if options & NO_PUNCTUATION:
                _blank_punctuation(base, position, target, written, inside)
        position += consumed
        written += produced
    return written, letters, spaceless


@kernel
def decode(base: int, position: int) -> tuple[int, int]:
    """The code point at a position of valid UTF-8, and its number of bytes; below 2**21 whatever the bytes are."""
    lead = load_byte(base, position)
    if lead < 0x80:
        return lead, 1
    second = load_byte(base, position + 1) & 0x3F
    if lead < 0xE0:
        return ((lead & 0x1F) << 6) | second, 2
    third = load_byte(base, position + 2) & 0x3F
    if lead < 0xF0:
        return ((lead & 0x0F) << 12) | (second << 6) | third, 3
    return ((lead & 0x07) << 18) | (second << 12) | (third << 6) | (load_byte(base, position + 3) & 0x3F), 4


@kernel
def _store_lower(
    base: int,
    begin: int,
    position: int,
    end: int,
    target: int,
    written: int,
    table: npt.NDArray[np.int32],
    point: int,
    entry: int,
) -> int:
    """Write the lower case of a code point that has one, and return where the output goes on."""
    lowered = point + (entry >> _FLAG_BITS)
    if point == _I_WITH_DOT:
        store_byte(target, written, _SMALL_I)
        written += 1
        lowered = _DOT_ABOVE
    elif point == _CAPITAL_SIGMA:
        lowered = _FINAL_SIGMA if _ends_word(base, begin, position, end, table) else _SIGMA
    return store_utf8(target, written, lowered)


@kernel
def _ends_word(base: int, begin: int, position: int, end: int, table: npt.NDArray[np.int32]) -> bool:
    """Whether the sigma at a position follows a cased letter and precedes none, case-ignorable ones left aside."""
    flags = CASE_IGNORABLE
    before = position
    while before > begin and flags & CASE_IGNORABLE:
        before -= 1
        while before > begin and load_byte(base, before) & 0xC0 == 0x80:
            before -= 1
        flags = _flags(base, before, table)
    if not flags & CASED:
        return False
    after = position + 2
    while after < end:
        flags = _flags(base, after, table)
        if not flags & CASE_IGNORABLE:
            return not flags & CASED
        after += decode(base, after)[1]
    return True


@kernel
def _flags(base: int, position: int, table: npt.NDArray[np.int32]) -> int:
    point = decode(base, position)[0]
    return np.int64(table[np.int64(table[point >> _BLOCK_BITS]) + (point & (_BLOCK - 1))])  # type: ignore[return-value]


@kernel
def _blank_punctuation(base: int, position: int, target: int, written: int, inside: int) -> None:
    """Turn ASCII punctuation of a block into spaces."""
    found = between_mask(base, position, 0x21, 0x2F) | between_mask(base, position, 0x3A, 0x40)
    found = (found | between_mask(base, position, 0x5B, 0x60) | between_mask(base, position, 0x7B, 0x7E)) & inside
    while found:
        store_byte(target, written + lowest_bit(found), 0x20)
        found &= found - 1
