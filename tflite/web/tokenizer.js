/**
 * BERT's tokenizer, as the models are trained with: TensorFlow Text's FastBertTokenizer. The Kotlin twin is
 * android/bert/src/main/kotlin/tinybert/; android/make_test_vectors.py writes the test vectors of both.
 */

const IGNORABLE = /^\p{Default_Ignorable_Code_Point}$/u;
const CONTROL = /^[\p{Cc}\p{Cf}]$/u;
const MARKS = /\p{Mn}/gu;
const SPACE = /^\p{Z}$/u;
const ASCII_SPACE = /^[\t\n\f\r ]$/;
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
 * @typedef {object} Settings how texts are prepared; `ModelFile` reads them out of a file
 * @property {boolean} [lower_case] by default true
 * @property {boolean} [strip_accents] by default as `lower_case`
 * @property {[content: string, normalized: boolean, singleWord: boolean][]} [added_tokens] words that are kept whole
 * @property {"left" | "right"} [truncation_side] where a text that is too long is cut
 * @property {string} [head] the network's: classification, token_classification, regression or span
 * @property {"bert" | "mediapipe"} [normalization] "mediapipe": prepared and split as MediaPipe's own tokenizer does it
 */

/**
 * A text as the vocabulary spells it: lower case, compatibility forms written out, accents and invisible characters removed,
 * control characters as spaces. Call it before MediaPipe's tasks, whose own tokenizer lower-cases ASCII only.
 *
 * @param {string} text
 * @param {Settings} settings with `lower_case: false`, for cased vocabularies, only control characters and
 *     spaces change
 * @returns {string}
 */
export function normalize(text, settings = {}) {
  const { text: folded } = fold(text, settings);
  return settings.normalization === "mediapipe" ? folded : folded.replace(/\p{Z}/gu, " ");
}

/** The normalized text, and where in the original its UTF-16 units begin and end. */
function fold(original, { lower_case: lowerCase = true, strip_accents: stripAccents = lowerCase, normalization }) {
  if (normalization === "mediapipe") {
    const lower = original.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
    const begins = Array.from({ length: original.length + 1 }, (_, index) => index);
    return { text: lower, begins, end: (index) => index };
  }
  let text = "";
  const begins = [];
  const ends = [];
  let at = 0;
  for (const character of original) {
    const folded = foldCharacter(character, lowerCase, stripAccents);
    for (let unit = 0; unit < folded.length; unit++) {
      begins.push(at);
      ends.push(at + character.length);
    }
    text += folded;
    at += character.length;
  }
  begins.push(original.length);
  // Marks that are removed behind a character belong to it, unless case and accents are treated apart, as in training.
  return { text, begins, end: (index) => (lowerCase === stripAccents ? begins[index] : ends[index - 1]) };
}

function foldCharacter(character, lowerCase, stripAccents) {
  if (character < "\u0080") {
    if (character < " " || character === "\u007f") return " ";
    return lowerCase ? character.toLowerCase() : character;
  }
  if (lowerCase && stripAccents && IGNORABLE.test(character)) return "";
  if (CONTROL.test(character)) return " ";
  if (lowerCase && stripAccents) return caseFold(character.normalize("NFKD")).normalize("NFKD").replace(MARKS, "");
  if (lowerCase) return character.toLowerCase();
  return stripAccents ? character.normalize("NFD").replace(MARKS, "") : character;
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
   * @param {Settings} settings
   */
  constructor(vocabulary, settings = {}) {
    this.settings = settings;
    this.added = addedTokens(settings);
    this.ids = new Map(vocabulary.map((word, id) => [word, id]));
    this.longest = vocabulary.reduce((longest, word) => Math.max(longest, word.length), 0);
    [this.padId, this.unknownId, this.clsId, this.sepId] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"].map((token) => {
      if (!this.ids.has(token)) throw new Error(`the vocabulary lacks ${token}`);
      return this.ids.get(token);
    });
  }

  /**
   * Splits at spaces and around punctuation, Chinese characters and added tokens, then each word into pieces.
   *
   * @param {string} text
   * @returns {{id: number, begin: number, end: number}[]} pieces, and their places in the text in UTF-16 units
   */
  tokenize(text) {
    const pieces = [];
    const split = (begin, end) => {
      for (const piece of this.#split(text.slice(begin, end))) {
        pieces.push({ id: piece.id, begin: piece.begin + begin, end: piece.end + begin });
      }
    };
    let at = 0;
    for (const found of findAdded(this.added, text)) {
      split(at, found.begin);
      pieces.push({ id: this.ids.get(found.content), begin: found.begin, end: found.end });
      at = found.end;
    }
    split(at, text.length);
    return pieces;
  }

  #split(text) {
    const folded = fold(text, this.settings);
    const spaces = this.settings.normalization === "mediapipe" ? ASCII_SPACE : SPACE;
    const pieces = [];
    let wordBegin = 0;
    let at = 0;
    for (const character of folded.text) {
      const next = at + character.length;
      const space = spaces.test(character);
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
      const ids = [this.clsId, ...this.truncate(head, maxLength - 2), this.sepId];
      return { ids, segmentIds: ids.map(() => 0) };
    }
    let tail = this.tokenize(second).map((piece) => piece.id);
    const room = maxLength - 3;
    const headRoom = Math.max(Math.floor((room + 1) / 2), room - tail.length);
    const tailRoom = Math.max(Math.floor(room / 2), room - head.length);
    head = [this.clsId, ...this.truncate(head, headRoom), this.sepId];
    tail = [...this.truncate(tail, tailRoom), this.sepId];
    return { ids: [...head, ...tail], segmentIds: [...head.map(() => 0), ...tail.map(() => 1)] };
  }

  /**
   * What is left of a text that is cut as in training.
   *
   * @template Piece
   * @param {Piece[]} pieces of the text, or their ids
   * @param {number} room for so many of them
   * @returns {Piece[]}
   */
  truncate(pieces, room) {
    const skipped = this.settings.truncation_side === "left" ? Math.max(0, pieces.length - room) : 0;
    return pieces.slice(skipped, skipped + room);
  }

  /** From left to right the longest pieces that the vocabulary has; one [UNK] where no piece fits. */
  #cutWord(folded, begin, end) {
    if (begin === end) return [];
    const unknown = [{ id: this.unknownId, begin: folded.begins[begin], end: folded.end(end) }];
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
      pieces.push({ id, begin: folded.begins[at], end: folded.end(pieceEnd) });
      at = pieceEnd;
    }
    return pieces;
  }
}

/** Added tokens with what finds them; of two at one place the longer counts. */
function addedTokens({ added_tokens: added = [], lower_case: lowerCase = true }) {
  return [...added]
    .sort((a, b) => b[0].length - a[0].length)
    .map(([content, normalized, singleWord]) => {
      const begin = singleWord && /^\w/.test(content) ? "(?<![A-Za-z0-9_])" : "";
      const end = singleWord && /\w$/.test(content) ? "(?![A-Za-z0-9_])" : "";
      const escaped = content.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
      // "u" folds the Kelvin sign and the long s, too, as the other tokenizers do.
      return { content, regex: new RegExp(begin + escaped + end, normalized && lowerCase ? "giu" : "gu") };
    });
}

function* findAdded(added, text) {
  let at = 0;
  while (added.length) {
    let first = null;
    for (const { content, regex } of added) {
      regex.lastIndex = at;
      const match = regex.exec(text);
      if (match && (first === null || match.index < first.begin)) {
        first = { content, begin: match.index, end: match.index + match[0].length };
      }
    }
    if (first === null) return;
    yield first;
    at = first.end;
  }
}

function isChinese(codePoint) {
  return CHINESE.some(([first, last]) => first <= codePoint && codePoint <= last);
}
