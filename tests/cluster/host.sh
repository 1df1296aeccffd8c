#!/bin/bash
# Turns this process, alone in fresh namespaces, into a machine with a disk and an sshd.
#   host.sh FOLDER NAME SHARED VISIBLE...
# The disk lies on top of the root folder, and on top of every VISIBLE folder: what is written
# stays with this host, power off or not. SHARED is the folder that all hosts have in common.
set -euo pipefail
folder=$1 name=$2 shared=$3
shift 3
disk=$folder/disks/$name

layer() { # layer LOWER WHERE: the folder, with this host's own changes
    local own=$disk/layers/${1//\//_}
    mkdir -p "$own/upper" "$own/work" "$2"
    mount -t overlay -o "lowerdir=$1,upperdir=$own/upper,workdir=$own/work" layer "$2"
}

read -r pid _ </proc/self/stat
echo "$pid"
read -r _ # until the cable is in
hostname "$name"

mkdir -p "$disk/root" "$disk/home/.ssh"
layer / "$disk/root"
cd "$disk/root"
mount --rbind /dev dev
mount -t tmpfs -o mode=1777 shm dev/shm
mount -t proc proc proc
mount -t tmpfs -o mode=1777 tmp tmp
mount -t tmpfs -o mode=755 run run
mkdir run/sshd

if [ ! -e "$disk/home/.profile" ]; then
    cp /etc/skel/.profile /etc/skel/.bashrc "$disk/home/"
    cp "$folder/key.pub" "$disk/home/.ssh/authorized_keys"
    chmod -R go= "$disk/home"
fi
mount --bind "$disk/home" root
for visible in "$@"; do
    layer "$visible" ".$visible"
done
# Nothing of the network's own folder is seen: neither the other disks nor, by its true name,
# the storage, which some hosts shall not reach.
mkdir -p ".$folder"
mount -t tmpfs hidden ".$folder"
if [ -n "$shared" ]; then
    mkdir -p ".$shared"
    mount --bind "$folder/shared" ".$shared"
fi
# Ray finds its own address through the host's name: there is no route to the outside.
cp "$folder/names" etc/hosts
# A name that is not there shall be refused at once, not after seconds.
: >etc/resolv.conf
cp "$folder/host_key" etc/host_key
chmod 600 etc/host_key

mkdir -p old
pivot_root . old
umount -l old
rmdir old
exec chroot . /usr/sbin/sshd -D -f /dev/null -h /etc/host_key -E /var/log/sshd.log \
    -o UsePAM=no -o PidFile=none -o MaxStartups=100 -o PasswordAuthentication=no \
    -o PermitRootLogin=prohibit-password -o "Subsystem=sftp internal-sftp"
