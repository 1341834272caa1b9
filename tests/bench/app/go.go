// A program as people write them in Go: maps, sorting, strings, goroutines and channels. Prints a sum.
package main

import (
	"fmt"
	"sort"
)

func work(seed uint64, results chan<- uint64) {
	state := seed
	numbers := make([]uint64, 20000)
	for i := range numbers {
		state = state*6364136223846793005 + 1442695040888963407
		numbers[i] = state >> 33
	}
	sort.Slice(numbers, func(i, j int) bool { return numbers[i] < numbers[j] })
	words := map[string]uint64{}
	for _, number := range numbers {
		words[fmt.Sprintf("w%d", number%1000)] += number % 7
	}
	names := make([]string, 0, len(words))
	for name := range words {
		names = append(names, name)
	}
	sort.Strings(names)
	sum := uint64(0)
	for _, name := range names {
		sum = sum*31 + words[name] + uint64(len(name))
	}
	results <- sum
}

func main() {
	results := make(chan uint64)
	for seed := uint64(1); seed <= 4; seed++ {
		go work(seed, results)
	}
	sum := uint64(0)
	for i := 0; i < 4; i++ {
		sum += <-results
	}
	fmt.Println(sum)
}
