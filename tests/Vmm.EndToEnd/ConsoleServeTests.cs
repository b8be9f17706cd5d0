using System.Net.Sockets;
using System.Text;
using Vmm.Devices;
using Vmm.Devices.Simulation;
using Vmm.Devices.VhostUser;

namespace Vmm.EndToEnd;

/// <summary>A console behind a socket, over our own front-end: QEMU 7.2 has none for it.</summary>
public sealed class ConsoleServeTests
{
    private const ulong MemoryBytes = 1 << 20;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    [Fact]
    public void What_is_typed_reaches_the_guest_and_what_it_prints_comes_out()
    {
        using ScratchDirectory scratch = new();
        string socket = scratch.PathOf("s"), people = scratch.PathOf("people");
        using VmmProcess vmm = new("serve", "--console", $"socket={socket},uds={people}");
        vmm.WaitFor($"listening console {socket}");

        using VhostUserFrontend frontend = VhostUserFrontend.Connect(socket);
        frontend.Negotiate(VirtioFeatures.EventIndex);
        using GuestMemory memory = GuestMemory.Create(MemoryBytes);
        GuestAllocator allocator = new(0, MemoryBytes);
        frontend.ShareMemory(memory);
        using DriverQueue receive = DriverQueue.Create(memory, allocator, 16, frontend.Features), transmit = DriverQueue.Create(memory, allocator, 16, frontend.Features);
        using VhostUserRing input = frontend.StartRing(0, receive), output = frontend.StartRing(1, transmit);
        GuestBuffer typed = new(allocator.Allocate(64), 64), printed = new(allocator.Allocate(64), 7);
        Assert.True(receive.TryAdd([], [typed], out _));
        input.PublishAndKick();

        using Socket person = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = (int)Patience.TotalMilliseconds };
        person.Connect(new UnixDomainSocketEndPoint(people));
        person.Send("uname\n"u8);
        UsedChain used = default;
        Assert.True(SpinWait.SpinUntil(() => receive.TryCollect(out used), Patience), "nothing was typed");
        byte[] bytes = new byte[used.Written];
        Assert.True(memory.TryRead(typed.Address, bytes));
        Assert.Equal("uname\n", Encoding.ASCII.GetString(bytes));

        Assert.True(memory.TryWrite(printed.Address, "Linux\r\n"u8));
        Assert.True(transmit.TryAdd([printed], [], out _));
        output.PublishAndKick();
        byte[] screen = new byte[7];
        for (int have = 0; have < screen.Length;) have += person.Receive(screen.AsSpan(have));
        Assert.Equal("Linux\r\n", Encoding.ASCII.GetString(screen));

        vmm.Signal("TERM");
        Assert.Equal(0, vmm.WaitForExit().ExitCode);
        Assert.False(File.Exists(people));
    }
}
