#!/bin/sh
# Renders the built-in prompts from texts.tsv into <language>/<name>.wav: µ-law,
# 8 kHz, one channel, the same loudness everywhere, no silence around them.
# Needs espeak-ng and sox. Writes rendered.tsv, by which a test notices a text
# that was changed and not rendered again.
set -eu
cd "$(dirname "$0")"
for tool in espeak-ng sox sha256sum; do
	command -v "$tool" >/dev/null || { echo "render.sh: $tool is missing: apt-get install espeak-ng sox coreutils" >&2; exit 1; }
done

level=-23 # dB RMS of what is spoken, pauses left out; about as many LUFS
peak=-3.5 # dB, the loudest sample before µ-law rounds it

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
tab=$(printf '\t')

# stat FILE NAME: one figure of sox's statistics.
stat() { sox "$1" -n stats 2>&1 | awk -v name="$2" 'index($0, name) == 1 { print $NF }'; }

grep -v '^#' texts.tsv >"$tmp/texts"
: >"$tmp/rendered"
mkdir -p vi en zh
while IFS="$tab" read -r name lang text spoken; do
	[ "$spoken" = "=" ] && spoken=$text
	case $lang in
	vi) voice="-v vi -s 145" ;;
	en) voice="-v en-us -s 155" ;;
	zh) voice="-v cmn-latn-pinyin -s 185" ;;
	*) echo "texts.tsv: unknown language $lang of $name" >&2; exit 1 ;;
	esac
	# shellcheck disable=SC2086 # the voice is several words
	case $(espeak-ng $voice -q -x -- "$spoken") in
	*"("*) echo "texts.tsv: $name, $lang: the engine reads a word of it as another language" >&2; exit 1 ;;
	esac
	# shellcheck disable=SC2086
	espeak-ng $voice -w "$tmp/raw.wav" -- "$spoken"
	# The telephone band, without the silence at both ends.
	sox -D "$tmp/raw.wav" -b 16 "$tmp/band.wav" gain -6 highpass 120 rate -v 8000 \
		silence 1 0.005 -50d reverse silence 1 0.005 -50d reverse
	sox -D "$tmp/band.wav" "$tmp/words.wav" silence -l 1 0.01 -40d -1 0.05 -40d
	gain=$(awk -v want=$level -v is="$(stat "$tmp/words.wav" 'RMS lev dB')" 'BEGIN { printf "%.2f", want - is }')
	top=$(awk -v peak="$(stat "$tmp/band.wav" 'Pk lev dB')" -v gain="$gain" -v most=$peak \
		'BEGIN { printf "%.2f", (peak + gain > most) ? most - peak : gain }')
	# 10 ms fades, and a breath of 30 ms at both ends.
	sox -D "$tmp/band.wav" -e mu-law -b 8 "$tmp/out.wav" gain "$top" fade t 0.01 0 0.01 pad 0.03 0.03
	mv "$tmp/out.wav" "$lang/$name.wav"
	printf '%s\t%s\t%s\t%s\n' "$name" "$lang" \
		"$(printf '%s\t%s' "$text" "$spoken" | sha256sum | cut -c1-16)" \
		"$(sha256sum <"$lang/$name.wav" | cut -c1-16)" >>"$tmp/rendered"
done <"$tmp/texts"
{
	echo "# Written by render.sh: name, language, checksum of the text, checksum of the file"
	cat "$tmp/rendered"
} >rendered.tsv

# A prompt that no text names any more goes.
for file in vi/*.wav en/*.wav zh/*.wav; do
	lang=${file%%/*} name=$(basename "$file" .wav)
	grep -q "^$name$tab$lang$tab" "$tmp/texts" || rm "$file"
done
