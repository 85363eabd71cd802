/**
 * BERT's tokenizer, as the models are trained with: TensorFlow Text's FastBertTokenizer. The Kotlin twin is
 * android/bert/src/main/kotlin/tinybert/; android/make_test_vectors.py writes the test vectors of both.
 */

const IGNORABLE = /^\p{Default_Ignorable_Code_Point}$/u;
const CONTROL = /^[\p{Cc}\p{Cf}]$/u;
const MARKS = /\p{Mn}/gu;
const SPACE = /^\p{Z}$/u;
const PUNCTUATION = /^[\p{P}$+<=>^`|~]$/u;
const CHEROKEE = /^\p{Script=Cherokee}/u;
const CHINESE = [
  [0x4e00, 0x9fff],
  [0x3400, 0x4dbf],
  [0xf900, 0xfaff],
  [0x20000, 0x2a6df],
  [0x2a700, 0x2ceaf],
  [0x2f800, 0x2fa1f],
];
/** Longer words are unknown: FastBertTokenizer's limit, in bytes of UTF-8. */
const MOST_BYTES = 100;

/**
 * A text as the vocabulary spells it: lower case, compatibility forms written out, accents and invisible characters removed,
 * control characters as spaces. Call it before MediaPipe's tasks, whose own tokenizer lower-cases ASCII only.
 *
 * @param {string} text
 * @param {boolean} lowerCase false for cased vocabularies, where only control characters change
 * @returns {string}
 */
export function normalize(text, lowerCase = true) {
  return fold(text, lowerCase).text;
}

/** The normalized text, and for each of its UTF-16 units and for its end the place in the original that it comes from. */
function fold(original, lowerCase) {
  let text = "";
  const origins = [];
  let at = 0;
  for (const character of original) {
    const folded = foldCharacter(character, lowerCase);
    for (let unit = 0; unit < folded.length; unit++) origins.push(at);
    text += folded;
    at += character.length;
  }
  origins.push(original.length);
  return { text, origins };
}

function foldCharacter(character, lowerCase) {
  if (character < "\u0080") {
    if (character < " " || character === "\u007f") return " ";
    return lowerCase ? character.toLowerCase() : character;
  }
  if (lowerCase && IGNORABLE.test(character)) return "";
  if (CONTROL.test(character)) return " ";
  if (!lowerCase) return character;
  return caseFold(character.normalize("NFKD")).normalize("NFKD").replace(MARKS, "");
}

/** Unicode's full case folding, where ß becomes ss. JavaScript has none; by way of the upper case the result is the same. */
function caseFold(text) {
  if (text === "\u0131") return text; // the dotless i: its upper case would lead to an i with a dot
  if (CHEROKEE.test(text)) return text.toUpperCase(); // the one script that folds to capitals
  return text.toLowerCase().toUpperCase().toLowerCase();
}

/** WordPiece over a vocabulary; it gives the ids that `tinybert_tf.data.Tokenizer` gave in training. */
export class Tokenizer {
  /**
   * @param {string[]} vocabulary words in the order of their ids
   * @param {boolean} lowerCase lower-case and strip accents, as for bert-base-uncased
   */
  constructor(vocabulary, lowerCase = true) {
    this.lowerCase = lowerCase;
    this.ids = new Map(vocabulary.map((word, id) => [word, id]));
    this.longest = Math.max(...vocabulary.map((word) => word.length));
    [this.padId, this.unknownId, this.clsId, this.sepId] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"].map((token) => {
      if (!this.ids.has(token)) throw new Error(`the vocabulary lacks ${token}`);
      return this.ids.get(token);
    });
  }

  /**
   * Splits at spaces and around punctuation and Chinese characters, then each word into pieces.
   *
   * @param {string} text
   * @returns {{id: number, begin: number, end: number}[]} pieces, and their places in the text in UTF-16 units
   */
  tokenize(text) {
    const folded = fold(text, this.lowerCase);
    const pieces = [];
    let wordBegin = 0;
    let at = 0;
    for (const character of folded.text) {
      const next = at + character.length;
      const space = SPACE.test(character);
      if (space || PUNCTUATION.test(character) || isChinese(character.codePointAt(0))) {
        pieces.push(...this.#cutWord(folded, wordBegin, at));
        if (!space) pieces.push(...this.#cutWord(folded, at, next));
        wordBegin = next;
      }
      at = next;
    }
    pieces.push(...this.#cutWord(folded, wordBegin, at));
    return pieces;
  }

  /**
   * [CLS] first [SEP], or [CLS] first [SEP] second [SEP], of at most `maxLength` pieces; a pair that is too long loses
   * pieces of its longer side first.
   *
   * @param {string} first
   * @param {string | null} second
   * @param {number} maxLength
   * @returns {{ids: number[], segmentIds: number[]}}
   */
  encode(first, second, maxLength) {
    let head = this.tokenize(first).map((piece) => piece.id);
    if (second === null) {
      const ids = [this.clsId, ...head.slice(0, maxLength - 2), this.sepId];
      return { ids, segmentIds: ids.map(() => 0) };
    }
    let tail = this.tokenize(second).map((piece) => piece.id);
    const room = maxLength - 3;
    const headRoom = Math.max(Math.floor((room + 1) / 2), room - tail.length);
    const tailRoom = Math.max(Math.floor(room / 2), room - head.length);
    head = [this.clsId, ...head.slice(0, headRoom), this.sepId];
    tail = [...tail.slice(0, tailRoom), this.sepId];
    return { ids: [...head, ...tail], segmentIds: [...head.map(() => 0), ...tail.map(() => 1)] };
  }

  /** From left to right the longest pieces that the vocabulary has; one [UNK] where no piece fits. */
  #cutWord(folded, begin, end) {
    if (begin === end) return [];
    const unknown = [{ id: this.unknownId, begin: folded.origins[begin], end: folded.origins[end] }];
    const word = folded.text.slice(begin, end);
    if (word.length > MOST_BYTES / 3 && new TextEncoder().encode(word).length > MOST_BYTES) return unknown;
    const pieces = [];
    let at = begin;
    while (at < end) {
      let pieceEnd = Math.min(end, at + this.longest);
      let id;
      while (pieceEnd > at) {
        const piece = folded.text.slice(at, pieceEnd);
        id = this.ids.get(at === begin ? piece : `##${piece}`);
        if (id !== undefined) break;
        pieceEnd--;
      }
      if (id === undefined) return unknown;
      pieces.push({ id, begin: folded.origins[at], end: folded.origins[pieceEnd] });
      at = pieceEnd;
    }
    return pieces;
  }
}

function isChinese(codePoint) {
  return CHINESE.some(([first, last]) => first <= codePoint && codePoint <= last);
}
