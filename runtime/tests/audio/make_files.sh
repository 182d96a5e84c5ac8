#!/usr/bin/env bash
# Writes files/: the same short sound in every container and codec that is read, made by ffmpeg 5.1 (with its libopus, libmp3lame,
# libvorbis) from a recipe of sines, so that tests know what they should hear.
#
#     ./make_files.sh
#
# A second and a half of a sweep from 200 to 3200 Hz, fading in for 0.1 s; the second channel has half the first one's level.
set -euo pipefail
cd "$(dirname "$0")"
rm -rf files && mkdir files && cd files

sound='0.5*min(t/0.1\,1)*sin(2*PI*(200*t+1000*t*t))'
generate() { echo "aevalsrc=exprs=$1:s=$2:d=1.5"; }
stereo() { generate "$sound|0.5*$sound" "$1"; }
ff() { ffmpeg -nostdin -v error -y -bitexact "$@"; }
plain=(-map_metadata -1 -flags +bitexact -fflags +bitexact)

ff -f lavfi -i "$(stereo 44100)" -t 0.1 -c:a pcm_s16le "${plain[@]}" s16.wav
ff -f lavfi -i "$(generate "$sound" 8000)" -t 1.5 -c:a pcm_mulaw "${plain[@]}" mulaw.wav
ff -f lavfi -i "$(stereo 22050)" -t 0.6 -c:a adpcm_ima_wav "${plain[@]}" adpcm.wav
ff -f lavfi -i "$(stereo 44100)" -c:a libmp3lame -b:a 64k "${plain[@]}" stereo.mp3
ff -f lavfi -i "$(generate "$sound" 16000)" -t 0.3 -c:a flac "${plain[@]}" mono.flac
ff -f lavfi -i "$(stereo 44100)" -c:a libvorbis -b:a 64k "${plain[@]}" -serial_offset 7 vorbis.ogg
ff -f lavfi -i "$(stereo 48000)" -c:a libopus -b:a 32k "${plain[@]}" -serial_offset 7 opus.ogg
ff -f lavfi -i "$(generate "$sound" 48000)" -c:a libopus -b:a 12k -application voip -frame_duration 60 "${plain[@]}" \
  -serial_offset 7 silk.opus
ff -f lavfi -i "$(stereo 48000)" -c:a libopus -b:a 32k "${plain[@]}" opus.webm
ff -f lavfi -i "$(stereo 44100)" -c:a aac -b:a 80k -aac_pns 0 -aac_is 0 "${plain[@]}" aac.m4a
ff -f lavfi -i "$(stereo 48000)" -c:a aac -b:a 80k -aac_pns 0 -aac_is 0 "${plain[@]}" aac.adts.aac
ff -f lavfi -i "$(stereo 48000)" -c:a alac -t 0.1 "${plain[@]}" alac.m4a

# Films: a picture of 16 x 16, and sound that begins 0.4 s after it; two languages; none.
film=(-f lavfi -i "color=black:s=16x16:r=5:d=2")
ff "${film[@]}" -itsoffset 0.4 -f lavfi -i "$(stereo 48000)" -map 0 -map 1 -c:v mpeg4 -c:a aac -b:a 64k -aac_pns 0 -aac_is 0 "${plain[@]}" late.mkv
ff "${film[@]}" -f lavfi -i "$(generate "0.1*sin(2*PI*440*t)" 16000)" -f lavfi -i "$(generate "$sound" 16000)" -map 0 -map 1 -map 2 \
  -c:v mpeg4 -c:a libvorbis -b:a 24k "${plain[@]}" -metadata:s:a:0 language=eng -metadata:s:a:1 language=fre languages.mkv
ff "${film[@]}" -c:v mpeg4 "${plain[@]}" silent.mp4
ff -f lavfi -i "$(generate "$(printf "$sound|%.0s" {1..5})$sound" 48000)" -t 0.5 -c:a libopus -b:a 64k "${plain[@]}" -serial_offset 7 \
  surround.opus

# What needs ffmpeg.
ff "${film[@]}" -f lavfi -i "$(stereo 48000)" -map 0 -map 1 -c:v mpeg4 -c:a ac3 -b:a 64k "${plain[@]}" ac3.mkv
ff -f lavfi -i "$(stereo 48000)" -c:a wmav2 -b:a 32k "${plain[@]}" wma.asf

ls -l
