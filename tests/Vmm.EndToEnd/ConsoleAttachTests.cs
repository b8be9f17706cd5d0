using System.Net.Sockets;
using System.Net.WebSockets;
using System.Text;
using System.Text.Json;
namespace Vmm.EndToEnd;

/// <summary>A guest's consoles by WebSocket, for several viewers at once.</summary>
public sealed class ConsoleAttachTests : IDisposable
{
    private const string Shell = "guest> ";

    private readonly ScratchDirectory _scratch = new();

    private string Api => _scratch.PathOf("api.sock");

    [Fact]
    public void Viewers_see_the_same_and_each_may_type()
    {
        using VmmProcess vmm = Run();
        using ConsoleClient one = new(Api, "ttyS0");
        one.WaitFor(Shell);
        one.Type("lsdev\r");
        one.WaitFor("balloon0: balloon");
        using ConsoleClient two = new(Api, "ttyS0");
        // What was printed before it came.
        two.WaitFor("balloon0: balloon");
        two.Type("from-two\r");
        one.WaitFor("'from-two'");
        two.WaitFor("'from-two'");
        two.Close();
        one.Type("lsdev; poweroff\r");
        Assert.Equal((int)WebSocketCloseStatus.EndpointUnavailable, one.End.Status);
        Assert.Contains("poweroff", one.Seen);
        Assert.Equal(0, vmm.WaitForExit().ExitCode);
    }

    [Fact]
    public void The_terminal_of_the_run_and_a_viewer_type_at_one_shell()
    {
        using VmmProcess vmm = new("run", "--api", Api);
        ListeningSocket.WaitFor(Api);
        using ConsoleClient viewer = new(Api, "ttyS0");
        vmm.Input.WriteLine("from-the-terminal");
        viewer.WaitFor("from-the-terminal");
        viewer.Type("from-the-viewer\n");
        vmm.WaitFor("from-the-viewer");
        // The end of what the terminal gave is the end of the line, as it always was.
        vmm.Input.Close();
        Assert.Equal(1, vmm.WaitForExit().ExitCode);
    }

    [Fact]
    public void Behind_commands_a_console_only_shows()
    {
        using VmmProcess vmm = new("run", "--api", Api, "--console", $"uds={_scratch.PathOf("console")}", "--exec", "lsdev; console read console");
        vmm.WaitFor("balloon0: balloon");
        using ApiClient api = new(Api);
        Assert.False(api.Get("/v1/consoles").GetProperty("consoles")[0].GetProperty("takesInput").GetBoolean());
        using ConsoleClient viewer = new(Api, "ttyS0");
        viewer.WaitFor("balloon0: balloon");
        viewer.Type("x");
        Assert.Equal(((int)WebSocketCloseStatus.PolicyViolation, "this console takes no input any more"), viewer.End);
    }

    [Fact]
    public void A_virtio_console_is_seen_beside_its_own_endpoint()
    {
        string log = _scratch.PathOf("log");
        using VmmProcess vmm = Run("--console", $"file={log}", "--console", $"uds={_scratch.PathOf("agent")},name=agent");
        using ApiClient api = new(Api);
        Assert.Equal(["ttyS0 serial", "console0 virtio"], api.Get("/v1/consoles").GetProperty("consoles").EnumerateArray()
            .Select(console => $"{console.GetProperty("name").GetString()} {console.GetProperty("kind").GetString()}"));
        using ConsoleClient serial = new(Api, "ttyS0"), screen = new(Api, "console0");
        serial.WaitFor(Shell);
        serial.Type("console write console to-both\r");
        screen.WaitFor("to-both");
        SpinWait.SpinUntil(() => File.ReadAllText(log).Contains("to-both"), TimeSpan.FromMinutes(1));
        Assert.Contains("to-both", File.ReadAllText(log));
        serial.Type("console read console\r");
        screen.Type("typed-at-virtio\n");
        serial.WaitFor("typed-at-virtio");
    }

    [Fact]
    public void A_kernel_on_KVM_is_typed_at_without_a_terminal_and_inside_the_sandbox()
    {
        Assert.SkipUnless(File.Exists("/dev/kvm") && Environment.IsPrivilegedProcess, "needs /dev/kvm");
        // Prints what is typed, and ends at 'q'.
        byte[] echo =
        [
            0x66, 0xba, 0xfc, 0x03, 0xb0, 0x01, 0xee, // mov dx, 0x3fc; mov al, 1; out dx, al
            0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xfb, // mov dx, 0x3fd; again: in al, dx; test al, 1; jz again
            0x66, 0xba, 0xf8, 0x03, 0xec, 0xee, // mov dx, 0x3f8; in al, dx; out dx, al
            0x3c, 0x71, 0x75, 0xed, // cmp al, 'q'; jne to the wait
            0x66, 0xba, 0x00, 0x06, 0xb0, 0x34, 0xee, 0xf4, 0xeb, 0xfd, // mov dx, 0x600; mov al, 0x34; out dx, al; hlt
        ];
        TinyKernel.Write(_scratch.PathOf("kernel"), echo);
        using VmmProcess vmm = new(WithoutInput, ["boot", "--kernel", _scratch.PathOf("kernel"), "--api", Api]);
        ListeningSocket.WaitFor(Api);
        using ConsoleClient client = new(Api, "ttyS0");
        client.Type("hello");
        client.WaitFor("hello");
        client.Type("q");
        Assert.Equal((int)WebSocketCloseStatus.EndpointUnavailable, client.End.Status);
        Assert.Equal(0, vmm.WaitForExit().ExitCode);
    }

    [Fact]
    public void A_viewer_that_never_reads_is_cut_off_and_the_guest_and_the_others_do_not_notice()
    {
        const int Rounds = 600;
        using VmmProcess vmm = Run();
        using Socket never = Handshake("ttyS0");
        using ConsoleClient client = new(Api, "ttyS0");
        client.WaitFor(Shell);
        // Far more than the buffers on the way and what is kept.
        for (int i = 0; i < Rounds; i++) client.Type("help\r");
        client.Type("the-last-word\r");
        client.WaitFor("'the-last-word'");
        Assert.True(client.Seen.Length > 4 * 256 * 1024, $"{client.Seen.Length} bytes are too few for this test");
        // What it was sent comes still, and then the end of the connection.
        never.ReceiveTimeout = 60_000;
        byte[] bytes = new byte[1 << 16];
        long length = 0;
        try
        {
            for (int got; (got = never.Receive(bytes)) > 0;) length += got;
        }
        catch (SocketException reset) when (reset.SocketErrorCode == SocketError.ConnectionReset)
        {
            // It was cut off with something on its way.
        }
        Assert.InRange(length, 1, client.Seen.Length - 1);
    }

    [Theory]
    [InlineData("81 85 00000000 68656c6c6f", WebSocketCloseStatus.InvalidMessageType)] // a text
    [InlineData("82 05 68656c6c6f", WebSocketCloseStatus.ProtocolError)] // without a mask
    [InlineData("c2 80 00000000", WebSocketCloseStatus.ProtocolError)] // a reserved bit
    [InlineData("83 80 00000000", WebSocketCloseStatus.ProtocolError)] // an opcode that there is not
    [InlineData("80 80 00000000", WebSocketCloseStatus.ProtocolError)] // the rest of no message
    [InlineData("02 80 00000000 82 80 00000000", WebSocketCloseStatus.ProtocolError)] // a message within a message
    [InlineData("09 80 00000000", WebSocketCloseStatus.ProtocolError)] // a ping in pieces
    [InlineData("89 fe 0100 00000000", WebSocketCloseStatus.ProtocolError)] // a ping that is too long
    [InlineData("82 ff 8000000000000000 00000000", WebSocketCloseStatus.ProtocolError)] // a length with its highest bit set
    [InlineData("88 80 00000000", WebSocketCloseStatus.NormalClosure)] // a close
    public void What_is_no_WebSocket_of_bytes_is_closed_with_the_reason(string frames, WebSocketCloseStatus status)
    {
        using VmmProcess vmm = Run();
        using ConsoleClient other = new(Api, "ttyS0");
        other.WaitFor(Shell);
        using Socket socket = Handshake("ttyS0");
        socket.Send(Convert.FromHexString(frames.Replace(" ", "")));
        byte[] got = ReadToEnd(socket);
        // What was printed before, then a close frame: 88, its length, the status.
        int close = Enumerable.Range(0, got.Length - 3).Last(at => got[at] == 0x88 && got[at + 1] == got.Length - at - 2);
        Assert.Equal((int)status, (got[close + 2] << 8) | got[close + 3]);
        other.Type("still-here\r");
        other.WaitFor("'still-here'");
    }

    [Fact]
    public void A_ping_is_answered_and_pieces_of_a_message_are_typed()
    {
        using VmmProcess vmm = Run();
        using ConsoleClient other = new(Api, "ttyS0");
        other.WaitFor(Shell);
        using Socket socket = Handshake("ttyS0");
        // "in-" in a masked piece, a ping "hi" between the pieces, "pieces\r" in the last piece.
        socket.Send(Convert.FromHexString("028301020304" + "686c2e" + "898200000000" + "6869" + "808700000000" + "7069656365730d"));
        other.WaitFor("'in-pieces'");
        socket.Send(Convert.FromHexString("888000000000"));
        Assert.True(ReadToEnd(socket).AsSpan().IndexOf(Convert.FromHexString("8a026869")) >= 0);
    }

    [Fact]
    public void A_request_that_is_no_WebSocket_is_refused_in_a_sentence()
    {
        using VmmProcess vmm = Run();
        Assert.Contains("426 Upgrade Required", Ask("GET /v1/consoles/ttyS0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
        Assert.Contains("must be 13", Ask(Upgrade("ttyS0", version: "8")));
        Assert.Contains("Sec-WebSocket-Key", Ask(Upgrade("ttyS0", key: "short")));
        Assert.Contains("there is no console 'tty9'", Ask(Upgrade("tty9")));
        Assert.Contains("another site", Ask(Upgrade("ttyS0", more: "Origin: http://evil.example\r\n")));
        List<Socket> attached = [];
        try
        {
            for (int i = 0; i < 16; i++) attached.Add(Handshake("ttyS0"));
            Assert.Contains("detach one first", Ask(Upgrade("ttyS0")));
        }
        finally
        {
            attached.ForEach(each => each.Dispose());
        }
        SpinWait.SpinUntil(() => Ask(Upgrade("ttyS0"), end: "101").Contains("101"), TimeSpan.FromMinutes(1));
        Assert.Contains("101 Switching", Ask(Upgrade("ttyS0"), end: "\r\n\r\n"));
    }

    [Fact]
    public void A_command_attaches_a_terminal_and_leaves_by_its_keys()
    {
        using VmmProcess vmm = Run();
        using VmmProcess attached = VmmProcess.UnderTerminal("", "ctl", Api, "console");
        attached.WaitFor("attached to ttyS0; Ctrl-A x leaves");
        attached.WaitFor("'help' lists the commands");
        attached.Input.Write("lsdev\r");
        attached.Input.Flush();
        attached.WaitFor("balloon0: balloon");
        attached.Input.Write("\u0001x");
        attached.Input.Flush();
        Assert.Equal(0, attached.WaitForExit().ExitCode);
        VmmResult piped = Piped("lsdev; poweroff\r");
        Assert.Equal(0, piped.ExitCode);
        Assert.Contains("balloon0: balloon", piped.Output);
        Assert.Equal(0, vmm.WaitForExit().ExitCode);

        VmmResult Piped(string input) => VmmProcess.RunWithInput(input, "ctl", Api, "console", "ttyS0");
    }

    [Fact]
    public void Consoles_are_listed_and_a_server_of_devices_has_none()
    {
        using VmmProcess vmm = new("serve", "--api", Api);
        vmm.WaitFor($"listening api {Api}");
        Assert.Equal((0, ""), (VmmProcess.Run("ctl", Api, "consoles").ExitCode, VmmProcess.Run("ctl", Api, "consoles").Output));
        Assert.Contains("there is no console: only machines", VmmProcess.Run("ctl", Api, "console").Error);
        Assert.Contains("there is no console 'ttyS0'", VmmProcess.Run("ctl", Api, "console", "ttyS0").Error);
    }

    public void Dispose() => _scratch.Dispose();

    private static string[] WithoutInput => ["sh", "-c", "exec \"$0\" \"$@\" </dev/null"];

    /// <summary>A machine whose input comes from those who attach alone.</summary>
    private VmmProcess Run(params string[] devices)
    {
        VmmProcess vmm = new(WithoutInput, ["run", "--api", Api, .. devices]);
        vmm.WaitFor("'help' lists the commands");
        return vmm;
    }

    private static string Upgrade(string console, string version = "13", string key = "AAAAAAAAAAAAAAAAAAAAAA==", string more = "") =>
        $"GET /v1/consoles/{console} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: {version}\r\nSec-WebSocket-Key: {key}\r\n{more}\r\n";

    private Socket Connect()
    {
        Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = 60_000 };
        socket.Connect(new UnixDomainSocketEndPoint(Api));
        return socket;
    }

    private Socket Handshake(string console)
    {
        Socket socket = Connect();
        socket.Send(Encoding.ASCII.GetBytes(Upgrade(console)));
        string answer = ReadUntil(socket, "\r\n\r\n");
        Assert.StartsWith("HTTP/1.1 101 ", answer);
        return socket;
    }

    /// <summary>The answer to a request, up to a text or its end.</summary>
    private string Ask(string request, string end = "}")
    {
        using Socket socket = Connect();
        socket.Send(Encoding.ASCII.GetBytes(request));
        return ReadUntil(socket, end);
    }

    private static string ReadUntil(Socket socket, string end)
    {
        StringBuilder text = new();
        byte[] one = new byte[1];
        while (socket.Receive(one) == 1)
        {
            text.Append((char)one[0]);
            if (text.ToString().EndsWith(end, StringComparison.Ordinal)) break;
        }
        return text.ToString();
    }

    private static byte[] ReadToEnd(Socket socket)
    {
        using MemoryStream all = new();
        byte[] bytes = new byte[4096];
        for (int got; (got = socket.Receive(bytes)) > 0;) all.Write(bytes, 0, got);
        return all.ToArray();
    }
}
