// A batch of scored images in the browser: the histogram, the highest scores, a table to sort and filter.
const SIZE = 50, TILES = 60;
const all = [...DATA.rows.keys()];
const values = DATA.scores;

// Numbers by size, texts by the alphabet, what is missing always last.
function compare(a, b, down) {
  if (a == null || b == null) return (a == null) - (b == null);
  const order = typeof a == "number" && typeof b == "number" ? a - b : String(a).localeCompare(String(b), undefined, {numeric: true});
  return down ? -order : order;
}

function page() {
  const every = [...values, ...DATA.held_out, ...(DATA.threshold == null ? [] : [DATA.threshold])];
  const range = every.length ? [every.reduce((a, b) => Math.min(a, b)), every.reduce((a, b) => Math.max(a, b))] : [0, 1];
  return {
    words: "", flagged: "", sorted: "score", down: true, first: 0, one: null, maps: true, most: TILES, range,
    chart: histograms([values, DATA.held_out], range, 30, DATA.score, "% of each", true),

    get listed() {
      const words = this.words.trim().toLowerCase();
      const fits = row => row.file.toLowerCase().includes(words) && (this.flagged === "" || row.abnormal == this.flagged);
      return all.filter(i => fits(DATA.rows[i])).sort((a, b) => compare(DATA.rows[a][this.sorted], DATA.rows[b][this.sorted], this.down));
    },
    get told() {
      const {score, p_value, abnormal} = DATA.rows[DATA.shown[this.one].row];
      const p = p_value == null ? "" : `, p = ${number(p_value)}`;
      const side = abnormal == null ? "" : `; ${abnormal ? "above" : "not above"} the threshold ${number(DATA.threshold)}`;
      return `${DATA.score} ${number(score)}${p}${side}`;
    },

    init() { for (const name of ["words", "flagged"]) this.$watch(name, () => this.first = 0) },
    nameOf(i) {
      const {file, slice} = DATA.rows[i];
      return slice == null ? file : `${file}, slice ${slice}`;
    },
    cell(i, column) {
      const value = DATA.rows[i][column];
      if (column == "abnormal" && value != null) return value ? "yes" : "no";
      return typeof value == "number" ? number(value) : value ?? "";
    },
    sort(column) {
      this.down = this.sorted == column ? !this.down : ["score", "abnormal"].includes(column);
      this.sorted = column;
      this.first = 0;
    },
    turn(by) { this.first = turned(this.first, by, SIZE, this.listed.length) },
    open(n) {
      this.one = n;
      this.$refs.one.showModal();
    },
    step(by) { this.one = Math.max(0, Math.min(DATA.shown.length - 1, this.one + by)) },
  };
}

document.addEventListener("alpine:init", () => Alpine.data("page", page));
