using System.Diagnostics;
using System.Net.Sockets;

namespace Vmm.EndToEnd;

/// <summary><c>vmm run --vsock</c>, whose other side is an ordinary program: socat.</summary>
public sealed class VsockRunTests
{
    private const int MiB = 100;

    [Fact]
    public void Socat_and_the_guest_send_each_other_a_hundred_MiB_and_both_have_the_same()
    {
        SkipIfMissing();
        using ScratchDirectory scratch = new();
        string big = scratch.CreateImage("big", MiB << 20), uds = scratch.PathOf("v"), got = scratch.PathOf("got");
        using Process sink = Start($"socat -u UNIX-LISTEN:{uds}_1000 OPEN:{got},creat");
        using Process source = Start($"socat -u FILE:{big} UNIX-LISTEN:{uds}_1001");
        using Process talker = Start($"socat UNIX-LISTEN:{uds}_1002 SYSTEM:'echo it says; cat'");
        Assert.True(SpinWait.SpinUntil(() => Enumerable.Range(1000, 3).All(port => File.Exists($"{uds}_{port}")), TimeSpan.FromSeconds(30)));

        VmmResult result = VmmProcess.Run("run", "--vsock", $"cid=3,uds={uds}", "--exec", $"vsock send 1000 {MiB}; vsock receive 1001; vsock connect 1002 good morning; poweroff");
        Assert.Equal(0, result.ExitCode);
        foreach (Process process in (Process[])[sink, source, talker]) AssertEndsWell(process);
        Assert.Contains($"vsock0: {MiB << 20} bytes sent, sha256 {ScratchDirectory.Sha256(got)}", result.Lines);
        Assert.Contains($"vsock0: {MiB << 20} bytes received, sha256 {ScratchDirectory.Sha256(big)}", result.Lines);
        Assert.Contains("it says", result.Lines);
        Assert.Contains("good morning", result.Lines);
        Assert.False(File.Exists(uds));
    }

    [Fact]
    public void Socat_connects_to_the_guest_once_with_a_hundred_MiB_and_a_thousand_times_many_at_once()
    {
        SkipIfMissing();
        using ScratchDirectory scratch = new();
        string big = scratch.CreateImage("big", MiB << 20), uds = scratch.PathOf("v"), back = scratch.PathOf("back");
        using VmmProcess vmm = new("run", "--vsock", $"cid=3,uds={uds}", "--exec", "vsock echo 80; vsock echo 81 1000; poweroff");
        vmm.WaitFor("listening on port 80");
        using (Process one = Start($"(echo CONNECT 80; cat {big}) | socat -t60 - UNIX-CONNECT:{uds} | tail -n +2 >{back}")) AssertEndsWell(one);
        Assert.Equal(ScratchDirectory.Sha256(big), ScratchDirectory.Sha256(back));

        vmm.WaitFor("listening on port 81");
        string each = $"said=$(printf \"CONNECT 81\\nline {{}}\\n\" | socat -t60 - UNIX-CONNECT:{uds} | tail -n 1); [ \"$said\" = \"line {{}}\" ]";
        using (Process many = Start($"seq 1000 | xargs -P 50 -I{{}} sh -c '{each}'")) AssertEndsWell(many);
        VmmResult result = vmm.WaitForExit();
        Assert.Equal(0, result.ExitCode);
        Assert.Contains(result.Lines, line => line.StartsWith("vsock0: 1000 connections, ", StringComparison.Ordinal));
    }

    [Fact]
    public void A_port_nobody_listens_on_is_told_in_a_sentence()
    {
        using ScratchDirectory scratch = new();
        VmmResult result = VmmProcess.Run("run", "--vsock", $"cid=3,uds={scratch.PathOf("v")}", "--exec", "vsock connect 99 hello; poweroff");
        Assert.Equal(1, result.ExitCode);
        Assert.Contains("error: vsock0: nothing on the host listens on port 99", result.Lines);
    }

    [Theory]
    [InlineData("cid=3")]
    [InlineData("uds=/tmp/v")]
    [InlineData("cid=2,uds=/tmp/v")]
    [InlineData("cid=three,uds=/tmp/v")]
    [InlineData("cid=3,uds=/tmp/01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567")]
    public void Sockets_that_make_no_sense_are_a_usage_error(string vsock)
    {
        VmmResult result = VmmProcess.Run("run", "--vsock", vsock, "--exec", "poweroff");
        Assert.Equal(2, result.ExitCode);
        Assert.Contains("vmm: --vsock", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void A_socket_somebody_listens_on_is_refused_in_a_sentence_and_stays()
    {
        SkipIfMissing();
        using ScratchDirectory scratch = new();
        string uds = scratch.PathOf("v");
        // Its path is there a moment before anybody listens.
        using Process other = Start($"exec socat UNIX-LISTEN:{uds},fork STDOUT");
        Assert.True(SpinWait.SpinUntil(() => ListeningSocket.IsAt(uds), TimeSpan.FromSeconds(30)));
        VmmResult result = VmmProcess.Run("run", "--vsock", $"cid=3,uds={uds}", "--exec", "poweroff");
        Assert.Equal(1, result.ExitCode);
        Assert.Contains("another process listens there", result.Error, StringComparison.Ordinal);
        Assert.True(File.Exists(uds));
        other.Kill();
    }

    /// <summary>An ordinary program is part of what the tests show: where socat is missing, tools/test.sh installs it.</summary>
    private static void SkipIfMissing() => Assert.SkipUnless(File.Exists("/usr/bin/socat"), "socat is not there: tools/test.sh installs it");

    private static Process Start(string command) => Process.Start(new ProcessStartInfo("sh", ["-c", command]))!;

    private static void AssertEndsWell(Process process)
    {
        bool ended = process.WaitForExit(TimeSpan.FromMinutes(2));
        if (!ended) process.Kill(entireProcessTree: true);
        Assert.True(ended && process.ExitCode == 0, ended ? $"{process.StartInfo.ArgumentList[1]} ended with {process.ExitCode}" : $"{process.StartInfo.ArgumentList[1]} did not end");
    }
}
