// Command clients asks IPVS by the two netlink libraries that programs of Go use for it, each in its own way: vishvananda/netlink
// (moby/ipvs, and with it Docker and kube-proxy) by blocking calls, mdlayher/netlink (cloudflare/ipvs) by the runtime's poller. It makes
// a service with one library, lists the services with the other, and prints what came.
package main

import (
	"fmt"
	"log"
	"sync"
	"syscall"

	"github.com/mdlayher/genetlink"
	mdlayher "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
)

// Commands and attributes of linux/ip_vs.h.
const (
	newService = 1
	delService = 3
	getService = 4
	getInfo    = 15
	service    = 1
)

func nested(kind int, of [][2]any) *nl.RtAttr {
	nest := nl.NewRtAttr(kind, nil)
	for _, one := range of {
		nest.AddRtAttr(one[0].(int), one[1].([]byte))
	}
	return nest
}

// The service 192.0.2.LAST:80, TCP, wrr.
func serviceOf(last byte) *nl.RtAttr {
	address := make([]byte, 16)
	copy(address, []byte{192, 0, 2, last})
	return nested(service, [][2]any{
		{1, nl.Uint16Attr(syscall.AF_INET)},
		{2, nl.Uint16Attr(syscall.IPPROTO_TCP)},
		{3, address},
		{4, []byte{0, 80}},
		{6, nl.ZeroTerminated("wrr")},
		{7, []byte{0, 0, 0, 0, 255, 255, 255, 255}},
		{8, nl.Uint32Attr(0)},
		{9, []byte{255, 255, 255, 255}},
	})
}

type header struct{ command, version uint8 }

func (header header) Len() int          { return 4 }
func (header header) Serialize() []byte { return []byte{header.command, header.version, 0, 0} }

// One request by vishvananda/netlink, on a socket of its own.
func execute(family uint16, command uint8, flags int, attribute *nl.RtAttr) ([][]byte, error) {
	request := nl.NewNetlinkRequest(int(family), flags)
	request.AddData(header{command, 1})
	if attribute != nil {
		request.AddData(attribute)
	}
	return request.Execute(syscall.NETLINK_GENERIC, 0)
}

func withVishvananda() {
	family, err := netlink.GenlFamilyGet("IPVS")
	if err != nil {
		log.Fatal("vishvananda: the family: ", err)
	}
	info, err := execute(family.ID, getInfo, 0, nil)
	if err != nil || len(info) != 1 {
		log.Fatal("vishvananda: GET_INFO: ", info, err)
	}
	found, err := nl.ParseRouteAttr(info[0][4:])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("vishvananda: family %x, version %x\n", family.ID, nl.NativeEndian().Uint32(found[0].Value))
	for try := 0; try < 2; try++ {
		_, err = execute(family.ID, newService, syscall.NLM_F_ACK, serviceOf(1))
		fmt.Println("vishvananda: NEW_SERVICE:", err)
	}
	// Many at once, each on a thread of the system's while it waits.
	var all sync.WaitGroup
	for last := byte(2); last < 40; last++ {
		all.Add(1)
		go func(last byte) {
			defer all.Done()
			if _, err := execute(family.ID, newService, syscall.NLM_F_ACK, serviceOf(last)); err != nil {
				log.Fatal("vishvananda: NEW_SERVICE at once: ", err)
			}
		}(last)
	}
	all.Wait()
	links, err := netlink.LinkList()
	fmt.Println("vishvananda: links:", len(links) > 0, err)
}

func withMdlayher() {
	connection, err := genetlink.Dial(nil)
	if err != nil {
		log.Fatal("mdlayher: ", err)
	}
	defer connection.Close()
	family, err := connection.GetFamily("IPVS")
	if err != nil {
		log.Fatal("mdlayher: the family: ", err)
	}
	dump := genetlink.Message{Header: genetlink.Header{Command: getService, Version: 1}}
	services, err := connection.Execute(dump, family.ID, mdlayher.Request|mdlayher.Dump)
	if err != nil {
		log.Fatal("mdlayher: GET_SERVICE: ", err)
	}
	fmt.Printf("mdlayher: family %x, services %d\n", family.ID, len(services))
	remove := genetlink.Message{
		Header: genetlink.Header{Command: delService, Version: 1},
		Data:   serviceOf(1).Serialize(),
	}
	for try := 0; try < 2; try++ {
		_, err = connection.Execute(remove, family.ID, mdlayher.Request|mdlayher.Acknowledge)
		fmt.Println("mdlayher: DEL_SERVICE:", err)
	}
	other, err := connection.GetFamily("nlctrl")
	fmt.Println("mdlayher:", other.Name, err)
}

func main() {
	log.SetFlags(0)
	withVishvananda()
	withMdlayher()
}
