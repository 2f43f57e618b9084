# What every picture starts from: a small host with one network card, and the
# image `hello`, Debian's busybox with one page to serve.
ip link set lo up
ip link add eth0 type bridge
ip address add 192.0.2.10/24 dev eth0
ip link set eth0 up

mkdir -p rootfs/bin rootfs/etc rootfs/www rootfs/tmp rootfs/root
cp "$(command -v busybox)" rootfs/bin/busybox
for applet in $(busybox --list); do [ "$applet" = busybox ] || ln -s busybox "rootfs/bin/$applet"; done
echo 'root:x:0:0:root:/root:/bin/sh' >rootfs/etc/passwd
echo '<h1>Hello from a container</h1>' >rootfs/www/index.html
tar -C rootfs -czf hello.tar.gz .
rcnt import --change 'CMD ["httpd","-f","-v","-p","80","-h","/www"]' --change 'EXPOSE 80' hello.tar.gz hello
