using System.Security.Cryptography;
using System.Text;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests;

public sealed class SimulatedMachineTests : IDisposable
{
    private const int MiB = 1 << 20;

    private readonly string _image = Path.Combine(Path.GetTempPath(), $"machine-{Guid.NewGuid():N}.img");

    [Theory]
    [InlineData(1, 1)]
    [InlineData(1, 4)]
    [InlineData(64, 4)]
    public void The_guest_computes_the_checksum_the_host_computes(int mebibytes, int vcpus)
    {
        WriteRandomImage(mebibytes * MiB);
        Assert.Equal($"sha256 vda {HostHash()}\n", RunWell("sha256 vda; poweroff", vcpus));
    }

    public void Dispose() => File.Delete(_image);

    private void WriteRandomImage(int bytes)
    {
        byte[] content = new byte[bytes];
        new Random(1).NextBytes(content);
        File.WriteAllBytes(_image, content);
    }

    private string HostHash() => Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(_image)));

    private string RunWell(string commands, int vcpus = 1)
    {
        MachineResult result = Run(commands, vcpus, out string output);
        Assert.True(result.Succeeded, $"{result}\n{output}");
        return output;
    }

    private MachineResult Run(string commands, int vcpus, out string output, bool readOnly = false, CancellationToken stop = default)
    {
        using ReactorThread reactor = new();
        using MemoryStream console = new();
        using BlockDevice disk = new("vda", RawImage.Open(_image, readOnly), new BlockDeviceOptions { Queues = vcpus });
        MachineResult result;
        using (SimulatedMachine machine = new(
            new SimulatedMachineOptions { Vcpus = vcpus, Commands = commands, ConsoleOutput = SerialOutput.To(console) }, [disk], reactor.Remote))
        {
            result = machine.Run(stop);
        }
        output = Encoding.UTF8.GetString(console.ToArray());
        return result;
    }

    /// <summary>A reactor on a thread of its own, until it is disposed.</summary>
    private sealed class ReactorThread : IDisposable
    {
        private readonly Reactor _reactor = new();
        private readonly CancellationTokenSource _stop = new();
        private readonly Thread _thread;

        internal ReactorThread()
        {
            _thread = new Thread(() =>
            {
                _reactor.Run(_stop.Token);
                _reactor.Dispose();
            });
            _thread.Start();
        }

        internal RemoteEndpoint Remote => _reactor.Remote;

        public void Dispose()
        {
            _stop.Cancel();
            _thread.Join();
            _stop.Dispose();
        }
    }
}
