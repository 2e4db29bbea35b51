/** `colours`: the ground of the picture, then what lies on the plate. Amounts are for two. */
export const recipes = [
  {
    id: "shakshuka", title: "Shakshuka with feta", kitchen: "Levant", minutes: 25, colours: ["#f4c9b0", "#c8402a", "#f7d774", "#fff6e8"],
    about: "Eggs poached in a thick tomato and pepper sauce. Eat it from the pan.",
    needs: [[4, "", "eggs"], [400, "g", "tinned tomatoes"], [1, "", "red pepper"], [80, "g", "feta"], [1, "tsp", "cumin"]],
    steps: ["Soften the pepper in olive oil with the cumin.", "Add the tomatoes and let them thicken for ten minutes.", "Make four wells, crack in the eggs, cover for six minutes.", "Crumble the feta over it."],
  },
  {
    id: "dal", title: "Red lentil dal", kitchen: "India", minutes: 30, colours: ["#f6dfae", "#d98a1f", "#7c9a3f", "#fbeecb"],
    about: "Soft lentils, finished with spices bloomed in hot butter.",
    needs: [[200, "g", "red lentils"], [1, "", "onion"], [2, "cloves", "garlic"], [1, "tsp", "turmeric"], [30, "g", "butter"], [1, "tsp", "mustard seeds"]],
    steps: ["Simmer the lentils with turmeric in three times their volume of water.", "Fry onion and garlic until golden.", "Heat the butter with the mustard seeds until they pop.", "Stir everything together and salt well."],
  },
  {
    id: "cacio", title: "Cacio e pepe", kitchen: "Italy", minutes: 15, colours: ["#e6e2d3", "#f2dc9b", "#5b5140", "#fff8df"],
    about: "Three ingredients and some patience with the heat.",
    needs: [[200, "g", "spaghetti"], [100, "g", "pecorino"], [2, "tsp", "black pepper"]],
    steps: ["Toast the crushed pepper in a dry pan.", "Boil the pasta in little water so that it turns starchy.", "Stir the cheese with cool pasta water to a paste.", "Off the heat, toss pasta, pepper and paste until glossy."],
  },
  {
    id: "poke", title: "Salmon rice bowl", kitchen: "Japan", minutes: 20, colours: ["#cfe3dc", "#f08a6b", "#7fb069", "#fdfbf5"],
    about: "Warm rice, cold salmon, something crunchy.",
    needs: [[150, "g", "sushi rice"], [200, "g", "salmon"], [1, "", "avocado"], [0.5, "", "cucumber"], [2, "tbsp", "soy sauce"]],
    steps: ["Cook the rice and let it steam for ten minutes.", "Cube the salmon and turn it in soy sauce.", "Slice avocado and cucumber.", "Arrange it all over the rice."],
  },
  {
    id: "tacos", title: "Black bean tacos", kitchen: "Mexico", minutes: 20, colours: ["#d5e8c4", "#3f2a35", "#e9b949", "#f6f1dd"],
    about: "Smoky beans, quick pickled onions, lime.",
    needs: [[400, "g", "black beans"], [6, "", "corn tortillas"], [1, "", "red onion"], [1, "", "lime"], [1, "tsp", "smoked paprika"]],
    steps: ["Pickle the sliced onion in lime juice and salt.", "Warm the beans with paprika and crush half of them.", "Char the tortillas over a flame.", "Fill, top with onion, fold."],
  },
  {
    id: "soup", title: "Leek and potato soup", kitchen: "France", minutes: 35, colours: ["#dfe8cf", "#b9cf86", "#f3f0dc", "#6c8c3c"],
    about: "Silky without cream. Better the next day.",
    needs: [[2, "", "leeks"], [300, "g", "potatoes"], [700, "ml", "vegetable stock"], [30, "g", "butter"]],
    steps: ["Sweat the leeks in butter without colour.", "Add potatoes and stock, simmer twenty minutes.", "Blend until smooth and season."],
  },
  {
    id: "fried-rice", title: "Egg fried rice", kitchen: "China", minutes: 12, colours: ["#f3e3c0", "#f5c84c", "#6fa36b", "#fff9ea"],
    about: "The best use of yesterday's rice.",
    needs: [[300, "g", "cold cooked rice"], [3, "", "eggs"], [3, "", "spring onions"], [80, "g", "peas"], [1, "tbsp", "soy sauce"]],
    steps: ["Scramble the eggs softly and set them aside.", "Fry the rice hard until it jumps.", "Add peas, soy and egg.", "Finish with spring onion."],
  },
  {
    id: "tagine", title: "Chickpea tagine", kitchen: "Morocco", minutes: 40, colours: ["#f1cfa9", "#b9572b", "#e8b04a", "#f7e7cd"],
    about: "Sweet with apricots, warm with cinnamon.",
    needs: [[400, "g", "chickpeas"], [2, "", "carrots"], [60, "g", "dried apricots"], [400, "g", "tinned tomatoes"], [1, "tsp", "cinnamon"]],
    steps: ["Fry the carrots with the cinnamon.", "Add tomatoes, chickpeas and apricots.", "Simmer half an hour, loosely covered.", "Serve with couscous."],
  },
  {
    id: "salad", title: "Panzanella", kitchen: "Italy", minutes: 15, colours: ["#dcebd8", "#d8432f", "#e2b36a", "#4f8a4c"],
    about: "Stale bread and ripe tomatoes. Wait for August.",
    needs: [[200, "g", "stale bread"], [400, "g", "ripe tomatoes"], [0.5, "", "red onion"], [1, "bunch", "basil"], [2, "tbsp", "vinegar"]],
    steps: ["Salt the cut tomatoes and keep their juice.", "Tear the bread, toast it lightly.", "Mix juice, vinegar and oil, turn the bread in it.", "Add tomatoes, onion and basil; wait ten minutes."],
  },
];
