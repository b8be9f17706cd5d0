using System.Security.Cryptography;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests.Simulation;

public sealed class GuestSha256Tests
{
    [Fact]
    public void It_computes_what_the_hosts_library_computes_for_every_length_and_cut()
    {
        Random random = new(1);
        byte[] bytes = new byte[300];
        random.NextBytes(bytes);
        GuestSha256 sum = new();
        for (int length = 0; length <= bytes.Length; length++)
        {
            int cut = random.Next(length + 1);
            sum.Add(bytes.AsSpan(0, cut));
            sum.Add(bytes.AsSpan(cut, length - cut));
            Assert.Equal(Convert.ToHexStringLower(SHA256.HashData(bytes.AsSpan(0, length))), sum.Finish());
        }
    }
}
