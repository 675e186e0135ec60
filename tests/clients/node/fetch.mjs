// The fetch that Node brings along: `node - URL`.
const answer = await fetch(process.argv[2]);
console.log(await answer.text());
